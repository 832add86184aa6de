"""The row of a file."""

from __future__ import annotations

from typing import Final

import msgspec

from tracecraft_bridge.projection.table import Table


class ArtifactRow(msgspec.Struct, gc=False):
    """A row of ``artifact``."""

    project: str
    run: str
    name: str
    sha256: str
    size: int
    media_type: str
    kind: str
    agent: str
    step: str | None
    time: str
    epoch: int
    seq: int


ARTIFACTS: Final = Table("artifact", ArtifactRow, ("project", "run", "name"))
