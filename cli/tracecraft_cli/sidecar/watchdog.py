"""The coding agent's process: the sidecar lives as long as it does, and hears of its end at once."""

# ruff: noqa: TID253 - a program of its own: the command line does not import it

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tracecraft_core.coding_session import Process

LOOK_S: Final = 1.0
"""Seconds between two looks at the process where the system cannot tell us of its end."""


async def ended(process: Process) -> None:
    """Return when the process has ended; at once when it is gone already."""
    with contextlib.suppress(OSError, AttributeError):  # no pidfd here (macOS, an old kernel), or gone already
        handle = os.pidfd_open(process.pid)
        try:
            if process.lives():
                await _readable(handle)
        finally:
            os.close(handle)
    while process.lives():  # noqa: ASYNC110 - nobody tells us
        await asyncio.sleep(LOOK_S)


async def _readable(handle: int) -> None:
    """A handle of a process becomes readable when the process ends."""
    loop, ended_ = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(handle, ended_.set)
    try:
        await ended_.wait()
    finally:
        loop.remove_reader(handle)
