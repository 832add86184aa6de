"""`tracecraft serve` from nothing to ready, and again on the same data (targets: 10 s and 5 s)."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from tracecraft_stack import Change, Stack, StackEvent, StackOptions


def main(_: list[str]) -> None:
    """Start the whole stack three times on one folder."""
    with tempfile.TemporaryDirectory() as name:
        options = StackOptions(data=Path(name))
        for label in ("from nothing", "again", "and again"):
            parts: list[str] = []

            def hear(event: StackEvent, parts: list[str] = parts) -> None:
                if event.change is Change.READY and event.server != "stack":
                    parts.append(f"{event.server} {event.seconds:.1f} s")

            start = time.perf_counter()
            stack = Stack(options, hear)
            stack.start()
            ready = time.perf_counter() - start
            start = time.perf_counter()
            stack.stop()
            print(
                f"{label:<13} ready after {ready:4.1f} s ({', '.join(parts)}); stopped after "
                f"{time.perf_counter() - start:.1f} s",
                flush=True,
            )
