"""A program that records and ends in some other way than by its block: ``ending HOW``, and what it says to stderr."""

from __future__ import annotations

import logging
import multiprocessing
import sys
import threading
import time
from typing import TYPE_CHECKING

import tracecraft
from tests.fault.programs.speech import tell

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event


def forgotten() -> None:
    """Nobody ends the run; a thread records after the main one has ended."""
    run = tracecraft.run("forgotten").start()
    run.log("1")
    run.log_text("note.txt", f"a note of {run.id}")
    tell("begun", run=run.id)

    def late() -> None:
        time.sleep(0.1)
        run.log("2")

    threading.Thread(target=late).start()


def takes_part() -> None:
    """Nobody ends the part of this process."""
    run = tracecraft.run("somebody else's").start()
    tell("begun", run=run.id)
    run.log("1")


def exits() -> None:
    """The program is left in the middle of the block."""
    with tracecraft.run("left in the middle") as run:
        tell("begun", run=run.id)
        run.log("1")
        sys.exit(0)


def child() -> None:
    """A child of multiprocessing takes part and outlives the block of its parent."""
    run = tracecraft.run("parent")
    with run:
        tell("begun", run=run.id)
        go = multiprocessing.get_context("fork").Event()
        process = multiprocessing.get_context("fork").Process(target=_take_part, args=(run, go))
        process.start()
        run.log("1")
    go.set()
    process.join()


def _take_part(run: tracecraft.Run, go: Event) -> None:
    go.wait()
    run.log("2")


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s")
    {"forgotten": forgotten, "exits": exits, "takes-part": takes_part, "child": child}[sys.argv[1]]()
