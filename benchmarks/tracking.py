"""What tracking costs the caller's thread: our ``log_metric`` and ``step`` with the bus live, and MLflow 3's calls.

Ours return when the record is in the spool, which survives the process; the delivery to nats-server goes on meanwhile
in the same process and is part of the figures. MLflow's return when its store has the point, except ``async``, which
returns when its thread has the point in memory. ``paced``: with 0.5 ms between two calls. Each side is measured twice,
in turn. Targets: p50 10 us, p99 50 us.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import uuid
from array import array
from pathlib import Path
from typing import TYPE_CHECKING

import tracecraft
from benchmarks import mlflow_peer
from benchmarks.mlflow_calls import BATCH
from benchmarks.report import percentile
from tracecraft_stack import NatsServer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tracecraft import Run, RunAgent

ROUNDS = 2
PAUSE_S = 0.0005
OURS = {
    "log_metric": 200_000,
    "log_metric paced": 5_000,
    "log_metrics (1,000)": 200,
    "step": 50_000,
    "step paced": 5_000,
    "step with output": 20_000,
}
THEIRS = {"log_metric": 300, "log_metric async": 2_000, "log_metrics": 10, "log_batch": 20, "span": 200}
STORES = {"sqlite": "sqlite:///{}/mlflow.db", "files": "file://{}/mlruns"}
LANGFUSE = """\
Langfuse, published in its cookbook langfuse_sdk_performance_test (quoted, not measured here, another machine):
trace()                       mean   266 us  p50   197 us   n=100
span()                        mean   162 us  p50   106 us   n=100"""

Figures = dict[str, list[float]]


def main(argv: list[str]) -> None:
    """Measure both, and print the ratios of the medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks tracking")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args(argv).rounds
    ours: Figures = {}
    theirs: dict[str, Figures] = {}
    version = ""
    with tempfile.TemporaryDirectory() as name, NatsServer(Path(name) / "nats", token=uuid.uuid4().hex) as server:
        os.environ["TRACECRAFT_SPOOL"] = f"{name}/spool"
        for number in range(rounds):
            _add(ours, measure(server.url))
            for store, uri in STORES.items():
                folder = Path(name) / f"{store}-{number}"
                folder.mkdir()
                version, took = mlflow_peer.measure(uri.format(folder), folder, _plan(store))
                _add(theirs.setdefault(store, {}), took)
        del os.environ["TRACECRAFT_SPOOL"]
    _show(ours, theirs, version)


def _plan(store: str) -> dict[str, int]:
    return {kind: times for kind, times in THEIRS.items() if store == "sqlite" or kind != "span"}


def measure(url: str) -> Figures:
    """Seconds of each of our calls, each kind in a run of its own; all of it must arrive."""
    took = {}
    tracecraft.init(server=url, project="bench", agent="bench")
    values = {f"m{number}": 1.0 for number in range(BATCH)}
    for label, times in OURS.items():
        with tracecraft.run(label, patience=120) as run, run.agent("worker") as agent:
            run.flush()
            took[label] = _timed(_call(label, run, agent, values), times, PAUSE_S if "paced" in label else 0)
        assert run.summary is not None
        assert run.summary.complete, run.summary
    return took


def _call(label: str, run: Run, agent: RunAgent, values: dict[str, float]) -> Callable[[int], None]:
    def step(_: int) -> None:
        with agent.step("search", kind="tool_call"):
            pass

    def step_with_output(number: int) -> None:
        with agent.step("search", kind="tool_call") as step:
            step.log_output({"found": number, "titles": ["attention", "memory"]})

    if label == "step with output":
        return step_with_output
    if label.startswith("step"):
        return step
    if label.startswith("log_metrics"):
        return lambda number: run.log_metrics(values, step=number)
    return lambda number: run.log_metric("loss", 1 / (number + 1), step=number)


def _timed(call: Callable[[int], None], times: int, pause: float) -> list[float]:
    took, clock = array("d", bytes(8 * times)), time.perf_counter
    for number in range(times):
        start = clock()
        call(number)
        took[number] = clock() - start
        if pause:
            time.sleep(pause)
    return list(took)


def _add(all_: Figures, more: Figures) -> None:
    for label, took in more.items():
        all_.setdefault(label, []).extend(took)


def _show(ours: Figures, theirs: dict[str, Figures], version: str) -> None:
    print(f"{'call':<29} {'p50':>11} {'p99':>11} {'max':>13} {'a second':>10}")
    for label, took in ours.items():
        _line(label, took, _points(label))
    for store, figures in theirs.items():
        print(f"MLflow {version}, {store}:")
        for label, took in figures.items():
            _line(label, took, _points(label))
    print(LANGFUSE)
    for store, figures in theirs.items():
        one = statistics.median(figures["log_metric"])
        print(f"log_metric, p50: MLflow ({store}) {one / statistics.median(ours['log_metric paced']):,.0f} times ours")
        batch = statistics.median(figures["log_batch"]) / BATCH
        print(f"a point of a batch of {BATCH:,}: {batch / statistics.median(ours['log_metric']):,.1f} times our single")
    spans = statistics.median(theirs["sqlite"]["span"]) / statistics.median(ours["step paced"])
    print(f"step, p50: MLflow's span (sqlite) {spans:,.0f} times ours")


def _points(label: str) -> int:
    return BATCH if label.startswith(("log_metrics", "log_batch")) else 1


def _line(label: str, took: Sequence[float], points: int) -> None:
    shown = (statistics.median(took), percentile(took, 0.99), max(took))
    middle, most, longest = (f"{value * 1e6:,.1f} us" for value in shown)
    print(f"{label:<29} {middle:>11} {most:>11} {longest:>13} {points * len(took) / sum(took):>10,.0f}", flush=True)


if __name__ == "__main__":
    main([])
