"""`Flushed`: what became of everything that a recorder was given."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Flushed:
    """The truth about one process's records of one run. An event is a record, and so is every metric point.

    `SpoolStatus` and ``tracecraft spool status`` count events: neighbouring points share one, so there are fewer.
    """

    acknowledged: int
    """The log has them, by its own word."""
    spooled: int
    """They lie in `where` and are delivered later, if need be by another process."""
    dropped: int
    """They are lost: the spool was full."""
    uploads_done: int
    """Files and large values that are in the object store."""
    uploads_waiting: int
    """Files and large values that still lie here."""
    where: str
    """The folder of the spool; ``memory`` where none could be written."""

    @property
    def complete(self) -> bool:
        """Whether nothing is left to deliver, and nothing was lost."""
        return not (self.spooled or self.dropped or self.uploads_waiting)
