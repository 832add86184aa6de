"""The rows of steps, open and ended."""

from __future__ import annotations

from typing import Final

import msgspec

from tracecraft_bridge.projection.copy_text import NULL, number, text
from tracecraft_bridge.projection.table import Table


class OpenStep(msgspec.Struct, gc=False):
    """A row of ``step_open``. One that is known by its data only, so far, has no name."""

    project: str
    run: str
    step: str
    agent: str
    parent: str | None
    kind: str
    name: str
    task: str | None
    started: str
    epoch: int
    first_seq: int
    input_seq: int | None = None
    output_seq: int | None = None
    input_blob: str | None = None
    output_blob: str | None = None
    input_preview: str | None = None
    output_preview: str | None = None


class StepRow(msgspec.Struct, gc=False):
    """A row of ``step``."""

    project: str
    run: str
    step: str
    agent: str
    parent: str | None
    kind: str
    name: str
    task: str | None
    status: str
    started: str
    ended: str
    duration_us: int
    error_type: str | None
    error_message: str | None
    epoch: int
    first_seq: int
    last_seq: int
    input_seq: int | None
    output_seq: int | None
    input_blob: str | None
    output_blob: str | None
    input_preview: str | None
    output_preview: str | None
    time: str

    def line(self, prefix: str) -> str:
        """The row for COPY; ``prefix``: project and run."""
        return (
            f"{prefix}{text(self.step)}\t{text(self.agent)}\t{text(self.parent)}\t{self.kind}\t{text(self.name)}\t"
            f"{text(self.task)}\t{self.status}\t{self.started}\t{self.ended}\t{self.duration_us}\t"
            f"{text(self.error_type)}\t{text(self.error_message)}\t{self.epoch}\t{self.first_seq}\t{self.last_seq}\t"
            f"{number(self.input_seq)}\t{number(self.output_seq)}\t{self.input_blob or NULL}\t"
            f"{self.output_blob or NULL}\t{text(self.input_preview)}\t{text(self.output_preview)}\t{self.time}\n"
        )

    def reopened(self) -> OpenStep:
        """As it was before its run was over."""
        return OpenStep(**{field: getattr(self, field) for field in OpenStep.__struct_fields__})


OPEN: Final = Table("step_open", OpenStep, ("project", "run", "step"))
STEPS: Final = Table("step", StepRow, ("project", "run", "step"))
COPY_STEPS: Final = f"COPY step ({', '.join(StepRow.__struct_fields__)}) FROM STDIN"
PATCH_STEPS: Final = """
    UPDATE step t SET input_seq = coalesce(k.input_seq, t.input_seq), output_seq = coalesce(k.output_seq, t.output_seq),
        input_blob = CASE WHEN k.input_seq IS NULL THEN t.input_blob ELSE k.input_blob END,
        output_blob = CASE WHEN k.output_seq IS NULL THEN t.output_blob ELSE k.output_blob END,
        input_preview = CASE WHEN k.input_seq IS NULL THEN t.input_preview ELSE k.input_preview END,
        output_preview = CASE WHEN k.output_seq IS NULL THEN t.output_preview ELSE k.output_preview END
    FROM json_populate_recordset(NULL::step_open, %s::json) k
    WHERE t.step = k.step AND t.first_seq = k.first_seq AND t.epoch = k.epoch
        AND t.run = k.run AND t.project = k.project
"""
"""Data that came after the end of its step: what is not NULL replaces what was there."""
