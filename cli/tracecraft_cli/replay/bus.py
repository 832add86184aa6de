"""Publishes a run once more, at its own pace or a faster one, for any NATS client to watch."""

# ruff: noqa: TID253 - commands import this module when they run

from __future__ import annotations

import asyncio
from itertools import accumulate
from typing import TYPE_CHECKING

from tracecraft_cli.replay.axis import axis
from tracecraft_cli.replay.moment import moment
from tracecraft_core import ids
from tracecraft_core.rebroadcast import renamed_runs, rewritten

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tracecraft_core.bus import Bus
    from tracecraft_core.queries import Entry

AT_ONCE = 0.002
"""Seconds: what lies nearer is published without a pause."""


async def publish_again(
    bus: Bus,
    project: str,
    entries: Sequence[Entry],
    *,
    speed: float = 1.0,
    runs: Mapping[str, str] | None = None,
    told: Callable[[Entry, int], None] | None = None,
) -> int:
    """Publish entries under ``tc.<project>-replay.…``, in their order; returns how many.

    Args:
        bus: a connection.
        project: that of the entries.
        entries: in the order of the log.
        speed: how many times as fast as it was recorded; 0: without pauses.
        runs: new ids of the runs (`renamed_runs`); without it fresh ones.
        told: called with each entry and its new sequence.
    """
    loop, pass_ = asyncio.get_running_loop(), ids.fresh()
    runs = renamed_runs(entries, project) if runs is None else runs
    began, origin, published = loop.time(), None, dict[int, int]()
    count = 0
    for entry, now in zip(entries, times(entries), strict=True):
        publication = rewritten(entry, project, published, runs)
        if publication is None:
            continue
        origin = now if origin is None else origin
        if speed > 0:
            pause = began + (now - origin) / 1e6 / speed - loop.time()
            if pause > AT_ONCE:
                await asyncio.sleep(pause)
        msg_id = f"replay-{pass_}-{entry.seq}"
        ack = await bus.publish(publication.subject, publication.body, headers=publication.headers, msg_id=msg_id)
        if ".msg." in entry.subject or ".all." in entry.subject:
            published[entry.seq] = ack.seq
        count += 1
        if told is not None:
            told(entry, ack.seq)
    return count


def times(entries: Sequence[Entry]) -> list[int]:
    """When each entry is due, in microseconds: as it was recorded, in the order of the log."""
    return list(accumulate(axis([moment(entry) for entry in entries]).times, max))
