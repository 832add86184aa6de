"""What a hook tells the sidecar: bounded, and checked where it comes in."""

from __future__ import annotations

from typing import Final

import msgspec

from tracecraft_core.coding_session import KINDS, Process

MAX_BYTES: Final = 512 * 1024
"""Of one event on the socket."""

CARRIES_ON: Final = frozenset({"clear", "resume"})
"""Reasons of a SessionEnd after which the same process begins another conversation."""


class Patch(msgspec.Struct, frozen=True):
    """The headlines of a patch."""

    text: str
    folder: str = ""
    """Where it is applied, as far as can be told: from the folder of the event, or absolute."""
    under: str | None = None
    """What is known of the end of that folder, when all of it cannot be known."""


class Event(msgspec.Struct, frozen=True):
    """One event of a coding agent."""

    event: str
    """``SessionStart``, ``UserPromptSubmit``, ``PreToolUse``, ``PostToolUse``, ``Stop``, ``SessionEnd``."""
    id: str
    """The coding agent's own session id."""
    kind: str
    cwd: str = ""
    transcript: str = ""
    source: str = ""
    """Of a SessionStart: ``startup``, ``resume``, ``clear``, ``compact``."""
    reason: str = ""
    """Of a SessionEnd."""
    again: bool = False
    """Of a Stop: it follows one that we answered with 'not yet'."""
    subagent: bool = False
    """It comes from a part of the agent with a context of its own."""
    tool: str = ""
    paths: list[str] = []
    patches: list[Patch] = []
    more: bool = False
    """The tool call names more files, or a longer path, than was passed on."""
    wait: float = 0.0
    """Seconds that the hook waits for an answer."""
    pid: int = 0
    pid_started: str = ""
    """With the event that starts the sidecar: the coding agent's process."""

    @property
    def process(self) -> Process | None:
        """The coding agent's process, if the hook found it."""
        return Process(self.pid, self.pid_started) if self.pid else None


def decode(line: bytes) -> Event | None:
    """An event; ``None`` for what is none."""
    try:
        event = msgspec.json.decode(line, type=Event)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return event if event.kind in KINDS and event.id else None
