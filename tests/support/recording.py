"""Recorders under test, and what the log has of them."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

from tracecraft.recording.recorder import Recorder
from tracecraft_core import settings, subjects
from tracecraft_core.bus import Bus
from tracecraft_core.pull import Puller, watcher_config
from tracecraft_core.transport import ServerOptions

if TYPE_CHECKING:
    from tracecraft_core.bus import Stored
    from tracecraft_core.settings import Settings

NOWHERE = "nats://127.0.0.1:9"
"""Where no server answers: connections are refused at once."""
RUN = "20261122-120000-abcdef"


def chosen(server: str, project: str, **more: str) -> Settings:
    """Settings of the agent alice."""
    return settings.load({"server": server, "project": project, "agent": "alice", **more})


def recorder(server: str, project: str, **more: str) -> Recorder:
    """A recorder of the run `RUN`."""
    return Recorder(chosen(server, project, **more), project, RUN, agent="alice")


def note(to: Recorder, number: int, agent: str = "alice") -> None:
    """Record a number."""
    to.record(agent, "log", json.dumps({"text": str(number), "time": 1}).encode())


async def logged(server: str, project: str, user: str | None = None) -> list[Stored]:
    """All events of the project's runs, in the order of the log; ``user`` has the password ``p``."""
    config = watcher_config([f"tc.{project}.run.>"], "all")
    options = ServerOptions(servers=(server,), user=user, password=user and "p")
    async with Bus(options) as bus, Puller(bus, subjects.LOG, config) as log:
        return [found.stored async for found in log.backlog()]


def texts(events: list[Stored]) -> list[int]:
    """The numbers that were noted."""
    return [int(json.loads(one.data)["text"].rstrip("x")) for one in events if one.subject.endswith(".log")]


def points(events: list[Stored]) -> list[int]:
    """The values of all metric points."""
    metrics = [json.loads(one.data)["points"] for one in events if one.subject.endswith(".metric")]
    return [int(point[1]) for point in itertools.chain.from_iterable(metrics)]


def numbers(events: list[Stored], writer: str) -> list[int]:
    """The numbers of a writer's events."""
    ids = (one.headers[subjects.MSG_ID].rpartition(":") for one in events)
    return [int(number) for of, _, number in ids if of == writer]
