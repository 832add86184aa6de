"""What a project's log holds, entry by entry, as whoever reads it finds it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from tracecraft_core import subjects
from tracecraft_core.bus import Bus
from tracecraft_core.pull import Puller, watcher_config

if TYPE_CHECKING:
    from tracecraft import AsyncSession, Session


class Said(NamedTuple):
    """An entry of the log."""

    subject: str
    body: dict[str, Any]
    headers: dict[str, str]

    @property
    def event(self) -> str:
        """``step.started`` of a run's event, else the family."""
        tokens = self.subject.split(".")
        return ".".join(tokens[5:]) if tokens[2] == "run" else tokens[2]

    @property
    def agent(self) -> str:
        return self.subject.split(".")[4]


async def log_of(session: Session | AsyncSession, family: str = "run.>") -> list[Said]:
    """What the log holds of the session's project, in order."""
    config = watcher_config([f"{subjects.ROOT}.{session.project}.{family}"], "all")
    async with Bus(session.settings.server_options()) as bus, Puller(bus, subjects.LOG, config) as puller:
        found = [one.stored async for one in puller.backlog()]
    return [Said(one.subject, json.loads(one.data or b"{}"), dict(one.headers)) for one in found]


def log(session: Session, family: str = "run.>") -> list[Said]:
    """The same, where nothing runs in a loop."""
    return asyncio.run(log_of(session, family))


def bodies(entries: list[Said], event: str) -> list[dict[str, Any]]:
    """What the entries of one event say."""
    return [entry.body for entry in entries if entry.event == event]
