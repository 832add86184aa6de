"""MLflow's calls, timed by the interpreter of `benchmarks.mlflow_peer`: ``mlflow_calls.py URI PLAN``; prints JSON.

``PLAN`` is a JSON object: kind of call to how many times. The answer has the seconds of each call.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING

os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH = 1_000
"""Points of one batch; the most that MLflow takes."""


def main(uri: str, plan: dict[str, int]) -> None:
    """Time each kind of call in one run of its own."""
    import mlflow  # type: ignore[import-not-found, unused-ignore]
    from mlflow.entities import Metric  # type: ignore[import-not-found, unused-ignore]

    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("bench")
    client = mlflow.MlflowClient()
    took = {}
    for kind, times in plan.items():
        with mlflow.start_run() as run:
            id_ = run.info.run_id

            def batch(number: int, id_: str = id_) -> None:
                at = int(time.time() * 1000)
                points = [Metric("loss", 1 / (n + 1), at, n) for n in range(number * BATCH, (number + 1) * BATCH)]
                client.log_batch(id_, metrics=points)

            def span(_: int) -> None:
                with mlflow.start_span("search", span_type="TOOL"):
                    pass

            calls: dict[str, Callable[[int], object]] = {
                "log_metric": lambda number: mlflow.log_metric("loss", 1 / (number + 1), step=number),
                "log_metrics": lambda number: mlflow.log_metrics({f"m{n}": 1.0 for n in range(BATCH)}, step=number),
                "log_batch": batch,
                "log_metric async": lambda number: mlflow.log_metric(
                    "loss", 1 / (number + 1), step=number, synchronous=False
                ),
                "span": span,
            }
            took[kind] = _timed(calls[kind], times)
    json.dump({"version": mlflow.__version__, "took": took}, sys.stdout)


def _timed(call: Callable[[int], object], times: int) -> list[float]:
    call(0)
    took = []
    for number in range(1, times + 1):
        start = time.perf_counter()
        call(number)
        took.append(time.perf_counter() - start)
    return took


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
