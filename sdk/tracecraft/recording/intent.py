"""`Intent`: something that has to be uploaded, as it lies in the spool."""

from __future__ import annotations

import mimetypes
import time

import msgspec

from tracecraft import artifacts
from tracecraft_core import ids
from tracecraft_core.run_events import ArtifactKind  # noqa: TC001  # msgspec reads it


class Intent(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Something that has to be uploaded."""

    id: str
    media_type: str | None = None
    path: str | None = None
    """Where the content lies, when it was not copied."""
    name: str | None = None
    """Of the artifact; ``None`` for a large value, which is known by its hash."""
    kind: ArtifactKind = "file"
    step: str | None = None
    agent: str = ""
    time: int = 0
    size: int = 0
    """Bytes that its copy takes."""

    def guessed(self) -> str:
        """The media type that its name speaks of."""
        return mimetypes.guess_type(self.name or "")[0] or artifacts.MEDIA_TYPE


def intent_of(name: str, kind: ArtifactKind, media_type: str | None, step: str | None, agent: str) -> Intent:
    """The intent for a file that is logged now."""
    now = time.time_ns() // 1000
    return Intent(id=ids.fresh(), media_type=media_type, name=name, kind=kind, step=step, agent=agent, time=now)
