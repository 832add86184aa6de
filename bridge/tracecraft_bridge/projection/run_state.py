"""What is known of a run while its events are folded: the rows that they change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracecraft_bridge.projection.copy_text import stamp, text

if TYPE_CHECKING:
    from tracecraft_bridge.projection.metric_row import Series
    from tracecraft_bridge.projection.run_row import AgentRow, RunRow
    from tracecraft_bridge.projection.step_row import OpenStep
    from tracecraft_bridge.projection.writers import Writer


class RunState:
    """One run; the tables have the same but for what the batch at hand changed."""

    __slots__ = (
        "agents",
        "deleted",
        "fresh",
        "heard",
        "open",
        "prefix",
        "project",
        "row",
        "run",
        "series",
        "stored",
        "writers",
    )

    def __init__(self, project: str, run: str) -> None:
        self.project, self.run = project, run
        self.prefix = f"{text(project)}\t{text(run)}\t"
        self.deleted: int | None = None
        """Epoch in which it was deleted: what is of this epoch or before does not bring it back."""
        self.forget()

    def forget(self) -> None:
        """As before its first event."""
        self.row: RunRow | None = None
        self.heard: int | None = None
        """Server's time of its newest event, when the row does not say it yet."""
        self.fresh = True
        """Nothing of it is in the tables but what is at hand."""
        self.writers: dict[str, Writer] = {}
        self.agents: dict[str, AgentRow] = {}
        self.open: dict[str, OpenStep] = {}
        self.stored: set[str] = set()
        """Open steps that the table ``step_open`` has."""
        self.series: dict[tuple[str, str], Series] = {}
        """By key and agent."""

    def settled(self) -> RunRow | None:
        """The row as it is."""
        if self.row is not None and self.heard is not None:
            self.row.heard, self.heard = stamp(self.heard), None
        return self.row

    @property
    def weight(self) -> int:
        """About how many rows it holds in memory."""
        return 1 + len(self.writers) + len(self.agents) + len(self.open) + 4 * len(self.series)
