"""Who wrote into a run, which of its numbers arrived, and which are missing in between."""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

import msgspec

from tracecraft_bridge.projection.copy_text import stamp
from tracecraft_bridge.projection.table import Table


class WriterRow(msgspec.Struct, gc=False):
    """A row of ``run_writer``."""

    project: str
    run: str
    writer: str
    agent: str
    last_number: int
    final: int | None
    received: int
    duplicates: int
    dropped: int
    heard: str


class HoleRow(msgspec.Struct, gc=False, frozen=True):
    """A row of ``run_hole``."""

    project: str
    run: str
    writer: str
    first_number: int
    last_number: int


WRITERS: Final = Table("run_writer", WriterRow, ("project", "run", "writer"))
HOLES: Final = Table("run_hole", HoleRow, ("project", "run", "writer", "first_number"))


class Writer:
    """A writer's row and the holes in its numbers, ``(first, last)``, ascending."""

    __slots__ = ("heard", "holes", "row", "stored")

    def __init__(self, row: WriterRow, holes: list[tuple[int, int]]) -> None:
        self.row, self.holes = row, holes
        self.stored = set(holes)
        self.heard: int | None = None
        """Server's time of its newest event, when the row does not say it yet."""

    def settled(self) -> WriterRow:
        """The row as it is to be written."""
        if self.heard is not None:
            self.row.heard, self.heard = stamp(self.heard), None
        return self.row

    def take(self, number: int) -> bool | None:
        """Note that a number arrived: true when in order, false when late, ``None`` for a repeat."""
        row = self.row
        if number == row.last_number + 1:
            row.last_number = number
            row.received += 1
            return True
        if number > row.last_number:
            self.holes.append((row.last_number + 1, number - 1))
            row.last_number = number
            row.received += 1
            return True
        return self._fill(number)

    def _fill(self, number: int) -> bool | None:
        place = bisect_right(self.holes, number, key=lambda hole: hole[0]) - 1
        if place < 0 or self.holes[place][1] < number:
            self.row.duplicates += 1
            return None
        first, last = self.holes[place]
        self.holes[place : place + 1] = [
            piece for piece in ((first, number - 1), (number + 1, last)) if piece[0] <= piece[1]
        ]
        self.row.received += 1
        return False

    def hole_changes(self) -> tuple[list[HoleRow], list[HoleRow]]:
        """What of the table is no longer so, and what is new; the table is taken to be changed."""
        now, row = set(self.holes), self.row
        gone, new = self.stored - now, now - self.stored
        self.stored = now
        made = [
            [HoleRow(row.project, row.run, row.writer, first, last) for first, last in sorted(part)]
            for part in (gone, new)
        ]
        return made[0], made[1]
