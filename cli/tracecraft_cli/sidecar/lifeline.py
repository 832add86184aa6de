"""The relay for a Codex session whose sandbox has no network: with it, tracecraft commands in its shell work.

Codex writes into its transcript, at every turn, what its sandbox may do. Nothing is served, and no folder made in the
workspace, for a sandbox that has a network or cannot write there.
"""

# ruff: noqa: TID253 - a program of its own: the command line does not import it

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tracecraft_core import sandbox
from tracecraft_core.errors import TracecraftError

if TYPE_CHECKING:
    from tracecraft_cli.sidecar.event import Event
    from tracecraft_core.settings import Settings

logger = logging.getLogger(__name__)

LOOK_S: Final = 0.25
"""Seconds between two looks for what the sandbox may do."""
RETRY_S: Final = 5.0
"""Seconds after which a folder is asked for again that another relay serves, that of a session beside this one."""
_PIECE: Final = 1 << 20
_MARK: Final = b'"turn_context"'


class Lifeline:
    """Watches one conversation's sandbox."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._event: Event | None = None
        self._read = 0

    def follow(self, event: Event) -> None:
        """Of this conversation."""
        if event.kind == "codex" and (self._event is None or event.transcript != self._event.transcript):
            self._event, self._read = event, 0

    async def work(self) -> None:
        """Serve as soon as it is needed, until cancelled."""
        while self._event is None or not self._cut_off(self._event):  # noqa: ASYNC110 - a file tells nobody
            await asyncio.sleep(LOOK_S)
        workspace = sandbox.workspace(Path(self._event.cwd or "."))
        while True:
            from tracecraft_cli.relay.server import serve

            with contextlib.suppress(TracecraftError):
                await serve(workspace, self._settings)
            await asyncio.sleep(RETRY_S)

    def _cut_off(self, event: Event) -> bool:
        """Whether what is new in the transcript says that commands can write here and reach nobody."""
        found = False
        with contextlib.suppress(OSError), open(event.transcript, "rb") as file:
            file.seek(self._read)
            piece = file.read(_PIECE)
            whole = piece.rfind(b"\n") + 1 or (len(piece) if len(piece) == _PIECE else 0)
            self._read += whole
            for line in piece[:whole].splitlines():
                if _MARK in line:
                    found = is_cut_off(line)
        return found


def is_cut_off(line: bytes) -> bool:
    """Whether a line of Codex' transcript tells of a sandbox that may write into the workspace and has no network."""
    try:
        policy = json.loads(line)["payload"]["sandbox_policy"]
        return policy["type"] == "workspace-write" and policy.get("network_access") is False
    except (ValueError, KeyError, TypeError):
        return False
