"""The rows of a metric: its newest state and its roll-ups."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from tracecraft_bridge.projection.copy_text import text
from tracecraft_bridge.projection.table import Table

WIDTHS: Final = (64, 1024, 32768)
"""Steps in a bucket of each roll-up."""
LARGEST: Final = 1.7976931348623157e308
"""A sum that would overflow stays here."""


class SeriesRow(msgspec.Struct, gc=False):
    """A row of ``metric_latest``; a number that JSON does not have is a string."""

    project: str
    run: str
    key: str
    agent: str
    value: Any
    step: int
    time: str
    first: Any
    min: float | None = None
    max: float | None = None
    sum: float = 0.0
    points: int = 0
    nans: int = 0


class BucketRow(msgspec.Struct, gc=False):
    """A row of ``metric_bucket``."""

    project: str
    run: str
    key: str
    agent: str
    width: int
    bucket: int
    first: Any
    last: Any
    first_time: str
    last_time: str
    min: float | None = None
    max: float | None = None
    sum: float = 0.0
    points: int = 0
    nans: int = 0


SERIES: Final = Table("metric_latest", SeriesRow, ("project", "run", "key", "agent"))
BUCKETS: Final = Table("metric_bucket", BucketRow, ("project", "run", "key", "agent", "width", "bucket"))


class Series:
    """A metric of one agent, or of the whole run, with the buckets at hand, by width and number."""

    __slots__ = ("buckets", "floor", "known", "prefix", "row", "top", "waiting")

    def __init__(self, row: SeriesRow, known: bool) -> None:
        self.row = row
        self.buckets: dict[tuple[int, int], BucketRow] = {}
        self.prefix = "".join(f"{text(column)}\t" for column in (row.project, row.run, row.key, row.agent))
        """The first columns of its chunks, for COPY."""
        self.waiting: list[tuple[int, int, float]] = []
        """Single points, (step, time, value), that the rows do not have yet."""
        self.known = known
        """Whether the table has it: then it may have buckets that are not at hand."""
        self.top = row.step
        """Highest step in the tables: behind its buckets there are none."""
        self.floor = _floor(self.top)
        """First step of the newest bucket."""

    def settle(self) -> None:
        """What is at hand is in the tables; keep only the newest buckets."""
        self.known, self.top = True, self.row.step
        self.floor = _floor(self.top)
        if len(self.buckets) > len(WIDTHS):
            newest = {(width, self.top // width) for width in WIDTHS}
            self.buckets = {key: row for key, row in self.buckets.items() if key in newest}


def _floor(step: int) -> int:
    return step - step % WIDTHS[0]
