"""Files of a run: logged again under the same name, the last counts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tracecraft_bridge.projection import poison
from tracecraft_bridge.projection.artifact_row import ArtifactRow
from tracecraft_bridge.projection.copy_text import stamp

if TYPE_CHECKING:
    from tracecraft_bridge.projection.batch import Batch
    from tracecraft_bridge.projection.entry import Entry
    from tracecraft_bridge.projection.run_state import RunState
    from tracecraft_core.run_events import Artifact

SHA256: Final = re.compile(r"[0-9a-f]{64}")


def on_artifact(batch: Batch, run: RunState, entry: Entry, event: Artifact) -> None:
    """``artifact``."""
    poison.name(event.name, "the name of the file", 500)
    if not SHA256.fullmatch(event.sha256):
        raise poison.Poison("sha256 is not 64 hexadecimal digits")
    size = poison.size(event.size, "size")
    time = stamp(batch.time(run, entry, event.time))
    batch.artifacts[run.project, run.run, event.name] = ArtifactRow(
        *(run.project, run.run, event.name, event.sha256, size, event.media_type[:200], event.kind),
        *(entry.parts.agent or "", event.step and event.step[:64], time, entry.epoch, entry.seq),
    )
