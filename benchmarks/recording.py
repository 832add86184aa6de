"""Recording on the caller's thread, and delivery to a nats-server (targets: p50 10 us, p99 50 us a call)."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
import uuid
from array import array
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.report import percentile
from tracecraft.recording.recorder import Recorder
from tracecraft_core import settings
from tracecraft_stack import NatsServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracecraft.recording.flushed import Flushed

POINTS = 1_000_000
EVENTS = 200_000
PACED = 3_000
PAUSE_S = 0.0005
BODY = b'{"step":"0123456789abcdef","name":"answer","time":1795378855970964,"kind":"llm","parent":"fedcba9876543210"}'


def main(_: list[str]) -> None:
    """Points and events, as fast as a loop can, and with pauses in which the delivery works."""
    with tempfile.TemporaryDirectory() as name, NatsServer(Path(name) / "nats", token=uuid.uuid4().hex) as server:
        os.environ["TRACECRAFT_SPOOL"] = f"{name}/spool"
        chosen = settings.load({"server": server.url, "project": "bench", "agent": "bench"})
        print(f"{'call':<16} {'p50':>8} {'p99':>8} {'p99.9':>8} {'max':>9}   {'taken':>11} {'delivered':>13}")
        for label, times, pause in (
            ("metric", POINTS, 0.0),
            ("record", EVENTS, 0.0),
            ("metric, paced", PACED, PAUSE_S),
            ("record, paced", PACED, PAUSE_S),
        ):
            recorder = Recorder(chosen, "bench", f"bench-{uuid.uuid4().hex[:8]}", agent="bench")
            recorder.record("bench", "started", b'{"name":"bench","time":1}')
            recorder.flush()
            _measure(label, recorder, times, pause)
        del os.environ["TRACECRAFT_SPOOL"]


def _measure(label: str, recorder: Recorder, times: int, pause: float) -> None:
    if label.startswith("metric"):
        took, taken = _timed(lambda number: recorder.metric("bench", "loss", 1 / (number + 1), number, 1), times, pause)
    else:
        took, taken = _timed(lambda _: recorder.record("bench", "step.started", BODY), times, pause)
    start = time.perf_counter()
    counts = recorder.close(timeout=120)
    delivered = taken + time.perf_counter() - start
    assert counts.complete, counts
    _print(label, took, times / taken, counts, delivered)


def _timed(call: Callable[[int], None], times: int, pause: float) -> tuple[array[float], float]:
    took, clock = array("d", bytes(8 * times)), time.perf_counter
    begun = clock()
    for number in range(times):
        start = clock()
        call(number)
        took[number] = clock() - start
        if pause:
            time.sleep(pause)
    return took, clock() - begun


def _print(label: str, took: array[float], rate: float, counts: Flushed, seconds: float) -> None:
    shown = (statistics.median(took), percentile(took, 0.99), percentile(took, 0.999), max(took))
    middle, most, more, longest = (f"{value * 1e6:,.1f}" for value in shown)
    print(
        f"{label:<16} {middle:>5} us {most:>5} us {more:>5} us {longest:>6} us   {rate:>9,.0f}/s "
        f"{counts.acknowledged / seconds:>11,.0f}/s",
        flush=True,
    )
