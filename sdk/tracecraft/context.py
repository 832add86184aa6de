"""What every verb of a session needs: the bus, the project, and who acts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracecraft_core import subjects

if TYPE_CHECKING:
    from tracecraft_core.bus import Bus
    from tracecraft_core.tasks import Holder


@dataclass(frozen=True, slots=True)
class Context:
    """One agent's place in one project."""

    bus: Bus
    project: str
    holder: Holder

    @property
    def agent(self) -> str:
        """The agent that acts."""
        return self.holder.agent

    def kv(self, bucket: str, key: str) -> tuple[str, str]:
        """Stream and subject of a key of this project."""
        return subjects.kv_stream(bucket), subjects.kv_subject(bucket, self.project, key)

    def key(self, bucket: str, subject: str) -> str:
        """The key behind a subject of this project."""
        return subjects.kv_key(bucket, self.project, subject)
