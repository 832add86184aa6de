"""`SystemMetrics`: what the machine and this process use while a run goes on, as metrics of the run."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from tracecraft_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

INTERVAL_S: Final = 10.0
"""Seconds between two samples, where nobody says otherwise."""
_MIB: Final = 1024 * 1024


def interval(wanted: object) -> float | None:
    """Seconds between samples for what the caller asked for; ``None``: none. Raises `UsageError`."""
    if isinstance(wanted, bool):
        return INTERVAL_S if wanted else None
    if not isinstance(wanted, (int, float)) or not wanted >= 0.1:
        raise UsageError(f"system_metrics={wanted!r}: True, False or seconds between two samples, at least 0.1")
    return float(wanted)


class SystemMetrics:
    """Samples in a thread of its own, from `start` to `stop`.

    ``system.cpu_percent`` (of all cores together, 0 to 100), ``system.memory_percent``, ``process.cpu_percent`` (of one
    core: 200 is two), ``process.memory_mib`` (resident), ``process.threads``.
    """

    def __init__(self, log: Callable[[Mapping[str, float]], None], seconds: float) -> None:
        self._log, self._seconds = log, seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracecraft system metrics", daemon=True)

    def start(self) -> None:
        """Begin to sample."""
        self._thread.start()

    def stop(self) -> None:
        """Take a last sample and end; a process that forked has no such thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def _run(self) -> None:
        import psutil

        process = psutil.Process()
        psutil.cpu_percent(), process.cpu_percent()  # both measure since the last call
        ended = False
        while not ended:
            ended = self._stop.wait(self._seconds)
            with process.oneshot():
                sample = {
                    "system.cpu_percent": psutil.cpu_percent(),
                    "system.memory_percent": psutil.virtual_memory().percent,
                    "process.cpu_percent": process.cpu_percent(),
                    "process.memory_mib": process.memory_info().rss / _MIB,
                    "process.threads": float(process.num_threads()),
                }
            self._log(sample)
