"""The process's connections for delivery: one for each way to reach a bus, shared by all runs that use it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tracecraft.recording.wire import Wire

if TYPE_CHECKING:
    from tracecraft_core.settings import Settings


class Wires:
    """Counts who uses a wire; lives on one event loop."""

    def __init__(self) -> None:
        self._wires: dict[tuple[tuple[str, str], ...], tuple[Wire, int]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def take(self, settings: Settings) -> Wire:
        """The wire for these settings; pass them to `give_back` later. Raises `UsageError` for unusable settings."""
        key = _key(settings)
        wire, users = self._wires.get(key, (None, 0))
        if wire is None:
            wire = Wire(settings.server_options(), f"tracecraft recorder {settings.project}/{settings.agent}")
        self._wires[key] = (wire, users + 1)
        return wire

    def give_back(self, settings: Settings) -> None:
        """The last one closes the connection."""
        key = _key(settings)
        wire, users = self._wires[key]
        if users > 1:
            self._wires[key] = (wire, users - 1)
            return
        del self._wires[key]
        closing = asyncio.create_task(wire.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


def _key(settings: Settings) -> tuple[tuple[str, str], ...]:
    values = {name: value for name, value in settings.values.items() if name not in ("project", "agent", "session")}
    return tuple(sorted(values.items()))
