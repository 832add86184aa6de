"""What the bridge counts, for Prometheus; no label has values that users choose (docs/reference/metrics.md)."""

from __future__ import annotations

from importlib import metadata
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, disable_created_metrics

_BATCH: Final = (1, 4, 16, 64, 256, 1024, 4096, 16384)
_SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


def version() -> str:
    """The version of the installed distribution."""
    try:
        return metadata.version("tracecraft-nats")
    except metadata.PackageNotFoundError:
        return "unknown"


class Metrics:
    """All series, in a registry of their own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter that nobody asks for
        self.registry = registry = CollectorRegistry()
        prefix = "tracecraft_bridge_"
        self.events = Counter(f"{prefix}events", "Messages mirrored.", ["family"], registry=registry)
        self.batch_size = Histogram(
            f"{prefix}batch_size", "Messages in one transaction.", buckets=_BATCH, registry=registry
        )
        self.write_seconds = Histogram(
            f"{prefix}write_seconds", "From a batch in hand to its commit.", buckets=_SECONDS, registry=registry
        )
        self.duplicates = Counter(f"{prefix}duplicates", "Deliveries that were mirrored already.", registry=registry)
        self.gaps = Counter(f"{prefix}gaps", "Gaps recorded.", registry=registry)
        self.gap_messages = Counter(f"{prefix}gap_messages", "Messages in recorded gaps.", registry=registry)
        self.epochs = Counter(f"{prefix}epochs", "Times the log began a new epoch.", ["reason"], registry=registry)
        self.malformed = Counter(
            f"{prefix}malformed_bodies", "Bodies kept raw because they are not storable JSON.", registry=registry
        )
        self.rebuilds = Counter(
            f"{prefix}rebuilds", "Times the projections were made again from the log.", registry=registry
        )
        self.rewinds = Counter(
            f"{prefix}rewinds", "Times reading began again behind the checkpoint.", registry=registry
        )
        self.lost = Counter(f"{prefix}lost_events", "Lost events published.", ["kind"], registry=registry)
        self.beats = Counter(f"{prefix}beats", "Beats written to the two buckets.", registry=registry)
        self.purged = Counter(
            f"{prefix}purged_messages", "Messages purged from a stream.", ["stream"], registry=registry
        )
        self.questions = Histogram(
            f"{prefix}question_seconds",
            "From a question to its answer.",
            ["verb", "code"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.otlp_requests = Histogram(
            f"{prefix}otlp_request_seconds",
            "From an export request to its answer.",
            ["signal", "code"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.otlp_items = Counter(
            f"{prefix}otlp_items", "Spans, log records and data points.", ["signal", "outcome"], registry=registry
        )
        self.lag_messages = Gauge(f"{prefix}lag_messages", "Messages not mirrored yet.", registry=registry)
        self.lag_seconds = Gauge(
            f"{prefix}lag_seconds", "Age of the newest mirrored message while others wait.", registry=registry
        )
        self.last_sequence = Gauge(f"{prefix}last_sequence", "Newest mirrored sequence of the log.", registry=registry)
        self.epoch = Gauge(f"{prefix}epoch", "Epoch that is being mirrored.", registry=registry)
        self.active = Gauge(f"{prefix}active", "1 for the bridge that mirrors, 0 for a standby.", registry=registry)
        self.nats_up = Gauge(f"{prefix}nats_up", "1 while connected to NATS.", registry=registry)
        self.postgres_up = Gauge(f"{prefix}postgres_up", "1 while connected to PostgreSQL.", registry=registry)
        Info("tracecraft_build", "The running version.", registry=registry).info({"version": version()})
