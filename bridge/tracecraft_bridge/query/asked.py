"""What a handler is given beside the question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracecraft_bridge.artifacts.store import ObjectStore
    from tracecraft_bridge.metrics import Metrics
    from tracecraft_bridge.progress import Progress
    from tracecraft_bridge.query.pool import Pool
    from tracecraft_bridge.settings import Settings
    from tracecraft_core.bus import Bus


@dataclass(frozen=True, slots=True)
class Asked:
    """The surroundings of one question: whose project it is about, and what the bridge has."""

    project: str
    pool: Pool
    """``async with asked.pool.snapshot() as connection`` reads; ``asked.pool.connection()`` writes too."""
    bus: Bus
    settings: Settings
    progress: Progress
    metrics: Metrics
    store: ObjectStore
    """Without one in the settings its methods say so (503)."""
