"""Versions of the keys of the shared memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracecraft_bridge.projection.copy_text import NULL, number, stamp, text
from tracecraft_bridge.projection.entry import run_and_step, value
from tracecraft_core import subjects

if TYPE_CHECKING:
    from tracecraft_bridge.projection.batch import Batch
    from tracecraft_bridge.projection.entry import Entry

COPY_VERSIONS: Final = (
    "COPY memory_version (project, key, epoch, seq, time, revision, operation, agent, run, step, fence, size) "
    "FROM STDIN"
)


def on_change(batch: Batch, entry: Entry) -> None:
    """A value was written or deleted."""
    parts, headers = entry.parts, entry.headers
    run, step = run_and_step(headers)
    batch.versions.append(
        f"{text(parts.project)}\t{text(parts.key)}\t{entry.epoch}\t{entry.seq}\t{stamp(entry.time)}\t"
        f"{number(entry.origin_seq)}\t{text(entry.operation or 'PUT')}\t{text(value(headers, subjects.WRITER))}\t"
        f"{run or NULL}\t{step or NULL}\t{text(value(headers, subjects.FENCE))}\t{entry.size}\n"
    )
