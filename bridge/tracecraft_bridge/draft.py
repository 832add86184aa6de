"""A batch that is made ready for PostgreSQL while the one before it is still being written."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tracecraft_bridge import origins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracecraft_bridge.copy_format import LogMessage, RowFormat
    from tracecraft_bridge.projection.entry import Entry


@dataclass(slots=True)
class Tally:
    """What a batch consists of."""

    families: Counter[str] = field(default_factory=Counter)
    malformed: int = 0
    duplicates: int = 0
    revisions: dict[str, list[int]] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)

    def __iadd__(self, other: Tally) -> Tally:
        self.families += other.families
        self.malformed += other.malformed
        self.duplicates += other.duplicates
        for stream, run in other.revisions.items():
            self.revisions.setdefault(stream, []).extend(run)
        self.entries += other.entries
        return self


class Draft:
    """Messages with their lines for COPY; grows by `add`, which needs neither the database nor the bus."""

    def __init__(self, form: RowFormat) -> None:
        self._form = form
        self.messages: list[LogMessage] = []
        self.size = 0
        """Bytes of their bodies and headers."""
        self.lines: list[bytes] = []
        """In pieces, one for each `add`."""
        self.tally = Tally()

    def add(self, messages: Sequence[LogMessage], refused: str | None = None) -> None:
        """Append messages; ``refused``: why PostgreSQL did not take them, so they are kept raw."""
        tally, row_of = self.tally, self._form.row
        rows = [row_of(message, refused) for message in messages]
        self.messages += messages
        self.size += sum([len(message.body) + len(message.headers) for message in messages])
        self.lines.append(b"".join([row.line for row in rows]))
        tally.families.update([row.family for row in rows])
        tally.entries += [row.entry for row in rows]
        for row in rows:
            tally.malformed += row.malformed
            if row.origin is not None and row.origin[0] in origins.SOURCES:
                tally.revisions.setdefault(row.origin[0], []).append(row.origin[1])
