"""A run as it goes on: its events, live from the bus, until it ends."""

# ruff: noqa: TID253 - commands import this module when they run

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from tracecraft import timeline
from tracecraft_cli import story
from tracecraft_cli.output import emit
from tracecraft_core import subjects

if TYPE_CHECKING:
    from collections.abc import Collection

    from tracecraft.context import Context

_OVER: Final = frozenset({"ended", "crashed", "deleted"})


async def follow(context: Context, run: str, seq: int, shown: Collection[int], *, as_json: bool) -> None:
    """Print the events of a run from a sequence on, a line each, but those ``shown``; returns when the run is over."""
    filter_ = f"{subjects.ROOT}.{context.project}.run.{run}.>"
    now = await timeline.server_time(context.bus)
    async with contextlib.aclosing(timeline.since_seq(context, filter_, seq, follow=True)) as entries:
        async for entry in entries:
            if entry.seq not in shown:
                emit(as_json, story.as_json(entry), story.line(entry, now))
            if entry.subject.split(".", 5)[-1] in _OVER:
                return
