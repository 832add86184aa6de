"""Where bars stand in a swim-lane: a step below its parent, steps side by side in time in rows of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracecraft_cli.replay.steps import Span

MOST_ROWS: Final = 12
"""Rows of one lane; what finds no room stands in the last one, over others."""


def rows(spans: Sequence[Span], now: int) -> list[int]:
    """The row of each span, which come ordered by start, outer ones first; open ones last until ``now``."""
    ends: dict[str, list[int]] = {}
    placed: dict[tuple[str, str], tuple[str, int]] = {}
    found: list[int] = []
    for span in spans:
        lane = ends.setdefault(span.agent, [])
        agent, above = placed.get((span.run, span.parent or ""), ("", -1))
        row = above + 1 if agent == span.agent else 0
        while row < min(len(lane), MOST_ROWS - 1) and lane[row] > span.start:
            row += 1
        row = min(row, MOST_ROWS - 1)
        lane.extend([0] * (row + 1 - len(lane)))
        lane[row] = max(lane[row], span.end if span.end is not None else now, span.start + 1)
        placed[span.run, span.step] = (span.agent, row)
        found.append(row)
    return found
