"""What of a journal is in the log already, where nobody knows and the log may not recognise a repeat any more."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from tracecraft_core import subjects
from tracecraft_core.pull import Puller, watcher_config

if TYPE_CHECKING:
    from tracecraft.recording.position import Position
    from tracecraft.recording.spool import Owner
    from tracecraft_core.bus import Bus

SKEW_S: Final = 600
"""Seconds by which the server's clock may differ from ours."""


async def stored(bus: Bus, owner: Owner, position: Position) -> dict[int, int]:
    """Sequences in the log of the events behind what is acknowledged, by number. Raises what `Puller` raises."""
    known: dict[int, int] = {}
    pattern = f"{subjects.ROOT}.{owner.project}.run.{owner.run}.>"
    config = watcher_config([pattern], "by_start_sequence", start_seq=position.seq + 1)
    until = position.sent_at / 1e6 + SKEW_S
    async with Puller(bus, subjects.LOG, config) as log:
        async for found in log.backlog():
            writer, _, number = found.stored.headers.get(subjects.MSG_ID, "").rpartition(":")
            if writer == owner.writer and number.isdigit():
                known[int(number)] = found.stored.seq
                if int(number) >= position.sent:
                    break
            if datetime.fromisoformat(found.stored.time).timestamp() > until:
                break
    return known
