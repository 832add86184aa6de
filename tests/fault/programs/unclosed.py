"""Toolboxes that nobody closes, as those that an adapter makes: ``unclosed HOW``, which is how the program ends."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import sys
import threading

from tests.fault.programs.speech import tell
from tracecraft.integrations.toolbox import Toolbox


def ends(how: str) -> None:
    """By whichever way is wanted."""
    alice, bob = Toolbox(agent="alice"), Toolbox(agent="bob")

    async def work() -> None:
        await alice.call("claim", {"task": "S1"})
        await bob.call("reserve", {"files": ["src/**"]})

    asyncio.run(work())
    tell("begun")
    if how == "waits":
        sys.stdin.readline()
    elif how == "raises":
        raise RuntimeError("on purpose")
    elif how == "leaves":
        os._exit(0)
    elif how == "reads":
        alice.call_blocking("inbox", {"limit": 1})
        alice.call_blocking("inbox", {"limit": 1})
    elif how == "logs":
        tell("logged", run=alice.call_blocking("log", {"start": "an experiment", "metrics": {"loss": 0.3}})["run"])
    elif how == "thread":
        threading.Thread(target=_late, args=(alice,)).start()
    elif how == "child":
        process = multiprocessing.get_context("fork").Process(target=_child)
        process.start()
        process.join()


def _late(box: Toolbox) -> None:
    """A thread that the main one does not wait for still works."""
    sys.stdin.readline()
    tell("late", answer=box.call_blocking("claim", {"task": "S1"}))


def _child() -> None:
    """It has a toolbox of its own, and none of its parent's."""
    tell("child", answer=Toolbox(agent="carol").call_blocking("claim", {"task": "S2"}))


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s")
    ends(sys.argv[1])
