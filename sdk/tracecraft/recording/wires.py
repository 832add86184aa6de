"""The process's connections for delivery: one for each way to reach a bus, shared by all runs that use it."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final, TypeAlias

from tracecraft.recording.wire import Wire

if TYPE_CHECKING:
    from tracecraft_core.settings import Settings


Key: TypeAlias = tuple[tuple[str, str], ...]
"""The settings that decide where a connection leads."""
LINGER_S: Final = 5.0
"""Seconds that a connection waits for the next run: one that is made costs more than a short run."""


class Wires:
    """Counts who uses a wire; lives on one event loop."""

    def __init__(self) -> None:
        self._wires: dict[Key, tuple[Wire, int]] = {}
        self._unused: dict[Key, asyncio.TimerHandle] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def take(self, settings: Settings) -> Wire:
        """The wire for these settings; pass them to `give_back` later. Raises `UsageError` for unusable settings."""
        key = _key(settings)
        wire, users = self._wires.get(key, (None, 0))
        if wire is None:
            wire = Wire(settings.server_options(), f"tracecraft recorder {settings.project}/{settings.agent}")
        if (closing := self._unused.pop(key, None)) is not None:
            closing.cancel()
        self._wires[key] = (wire, users + 1)
        return wire

    def give_back(self, settings: Settings) -> None:
        """A connection that nobody uses for `LINGER_S` seconds is closed."""
        key = _key(settings)
        wire, users = self._wires[key]
        self._wires[key] = (wire, users - 1)
        if users == 1:
            self._unused[key] = asyncio.get_running_loop().call_later(LINGER_S, self._close, key)

    def _close(self, key: Key) -> None:
        del self._unused[key]
        wire, _ = self._wires.pop(key)
        closing = asyncio.create_task(wire.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


def _key(settings: Settings) -> Key:
    values = {name: value for name, value in settings.values.items() if name not in ("project", "agent", "session")}
    return tuple(sorted(values.items()))


def take(settings: Settings) -> Wire:
    """The process's wire for these settings; pass them to `give_back` later. Raises `UsageError`."""
    return _wires.take(settings)


def give_back(settings: Settings) -> None:
    """The wire is not needed any more."""
    _wires.give_back(settings)


_wires = Wires()
_kept: list[Wires] = []
"""What a forked child has of its parent."""


def _forget_after_fork() -> None:
    global _wires
    _kept.append(_wires)
    _wires = Wires()


os.register_at_fork(after_in_child=_forget_after_fork)
