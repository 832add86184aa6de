"""`SpoolStatus`: what lies in the spool of one writer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tracecraft_core.destination import Destination


@dataclass(frozen=True, slots=True)
class SpoolStatus:
    """One writer's folder in the spool."""

    project: str
    run: str
    writer: str
    agent: str
    destination: Destination
    """Where the writer wanted to deliver to."""
    folder: Path
    alive: bool
    """A process holds it right now, and delivers it itself."""
    events: int
    """Events that are not acknowledged yet; a ``metric`` event holds many points, each a record of `Flushed`."""
    uploads: int
    """Files and large values that are not uploaded yet."""
    bytes: int
    """Disk space that the folder takes."""
    since: float | None
    """Seconds since 1970: when its oldest file was made."""
