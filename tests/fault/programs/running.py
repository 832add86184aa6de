"""A process with a run under load: ``running FOLDER``; "end" on its input ends it well. FOLDER gets what it took."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import tracecraft
from tests.fault.programs.speech import tell

FOLDER = Path(sys.argv[1])


def main() -> None:
    """Steps, points and files until told to end."""
    over = threading.Event()
    threading.Thread(target=_listen, args=(over,), daemon=True).start()
    taken = os.open(FOLDER / "taken", os.O_WRONLY | os.O_CREAT)
    number = 0
    with tracecraft.run("load", params={"lr": 0.1}) as run, run.agent("worker") as agent:
        tell("running", run=run.id)
        while not over.is_set():
            number += 1
            with agent.step("work", kind="task") as step:
                step.log_input({"number": number})
                step.log_output("x" * 40_000 if number % 50 == 0 else number)
            run.log_metric("number", number)
            if number % 25 == 0:
                run.log_text(f"notes/{number}.txt", f"note {number // 50}")
            os.pwrite(taken, number.to_bytes(8, "little"), 0)
            time.sleep(0.002)
    summary = run.summary
    assert summary is not None
    tell(
        "ended",
        number=number,
        spooled=summary.spooled,
        dropped=summary.dropped,
        waiting=summary.uploads_waiting,
        acknowledged=summary.acknowledged,
    )


def _listen(over: threading.Event) -> None:
    sys.stdin.readline()
    over.set()


if __name__ == "__main__":
    main()
