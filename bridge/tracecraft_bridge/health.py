"""How the bridge is: written by the loop, read by the HTTP thread."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracecraft_bridge.metrics import Metrics

Role = Literal["starting", "standby", "active", "stopping"]

STALLED_S: Final = 90.0
"""Seconds without a word from either server after which an active bridge is not healthy."""


@dataclass(slots=True)
class Health:
    """The state of the bridge; each field is written by one place."""

    nats_up: Callable[[], bool] = field(default=lambda: False)
    role: Role = "starting"
    postgres_up: bool = False
    mirroring: bool = False
    """Reading the log and writing it down."""
    problem: str | None = None
    """Why it does not mirror, in words."""
    epoch: int = 0
    seq: int = 0
    """Newest mirrored sequence."""
    mirrored_time: float = 0.0
    """When the server stored that message, seconds since 1970."""
    lag: int = 0
    """Messages that wait."""
    heard: float = field(default_factory=time.monotonic)
    """When the loop last knew that all is well."""

    def alive(self, lag: int) -> None:
        """Note that the loop has just read from NATS or written to PostgreSQL."""
        self.lag, self.heard = lag, time.monotonic()

    @property
    def lag_seconds(self) -> float:
        """Age of the newest mirrored message while others wait behind it; 0 when none waits."""
        return max(0.0, time.time() - self.mirrored_time) if self.lag and self.mirrored_time else 0.0

    def reason(self) -> str | None:
        """Why it is not healthy, or ``None``."""
        if self.role == "starting":
            return self.problem or "starting"
        if not self.nats_up():
            return "not connected to NATS"
        if not self.postgres_up:
            return self.problem or "not connected to PostgreSQL"
        if self.role == "standby":
            return None
        if not self.mirroring:
            return self.problem or "not mirroring yet"
        silent = time.monotonic() - self.heard
        return f"no progress for {silent:.0f} s" if silent > STALLED_S else None

    def report(self) -> tuple[int, dict[str, Any]]:
        """HTTP status and body of ``/healthz``."""
        reason = self.reason()
        body = {
            "status": "ok" if reason is None else "starting" if self.role == "starting" else "unavailable",
            "role": self.role,
            "reason": reason,
            "nats": self.nats_up(),
            "postgres": self.postgres_up,
            "epoch": self.epoch,
            "last_seq": self.seq,
            "lag": self.lag,
            "lag_seconds": round(self.lag_seconds, 3),
        }
        return (200 if reason is None else 503), body

    def publish_to(self, metrics: Metrics) -> None:
        """Set the gauges, at the moment of a scrape."""
        metrics.lag_messages.set(self.lag)
        metrics.lag_seconds.set(self.lag_seconds)
        metrics.last_sequence.set(self.seq)
        metrics.epoch.set(self.epoch)
        metrics.active.set(self.role == "active")
        metrics.nats_up.set(self.nats_up())
        metrics.postgres_up.set(self.postgres_up)
