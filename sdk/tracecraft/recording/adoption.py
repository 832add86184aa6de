"""Adoption: the first writer of a process delivers what processes that are gone have left in the spool."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Final

from tracecraft.recording import spool, wires
from tracecraft.recording.takeover import deliver_folder
from tracecraft_core.errors import TracecraftError

if TYPE_CHECKING:
    from tracecraft.recording.spool import Owner
    from tracecraft.recording.wire import Wire
    from tracecraft_core.settings import Settings

logger = logging.getLogger(__name__)

SETTLE_S: Final = 2.0
"""Seconds that the end of a run waits at most for what others have left; the next run goes on with the rest."""

_adopted: set[tuple[str, str]] = set()
_adopting: set[asyncio.Task[None]] = set()


def adopt(settings: Settings, owner: Owner) -> None:
    """Once a process: deliver what others of this project have left that are gone."""
    key = (owner.server, owner.project)
    if key not in _adopted:
        _adopted.add(key)
        wire = wires.take(settings)
        task = asyncio.create_task(_deliver(settings, owner, wire))
        _adopting.add(task)
        task.add_done_callback(_adopting.discard)


async def settle(timeout: float) -> None:
    """Wait until it is delivered, `SETTLE_S` at most: a run that is short shall deliver what was left, too."""
    if _adopting and timeout > 0:
        await asyncio.wait(set(_adopting), timeout=min(timeout, SETTLE_S))


async def _deliver(settings: Settings, owner: Owner, wire: Wire) -> None:
    try:
        await wire.up()
        for path in spool.folders(None, owner.project):
            await deliver_folder(wire, path, to=settings)
    except (TracecraftError, OSError) as error:
        logger.debug("what others have left in the spool is not delivered: %s", error)
    finally:
        wires.give_back(settings)


_kept: list[set[asyncio.Task[None]]] = []
"""What a forked child has of its parent: collecting it would end the parent's tasks in the child."""


def _forget_after_fork() -> None:
    global _adopting
    _kept.append(_adopting)
    _adopting = set()
    _adopted.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
