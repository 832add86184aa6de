"""Many agents, each a process: ``claim`` the same tasks at the same instant, or ``drain`` a list of tasks together.

    racers claim  COUNT          for each line on stdin all claim the task of that name at once
    racers files  COUNT          for each line all reserve files at once: each its own of these JSON lists of globs
    racers drain  COUNT FOLDER   for one line on stdin all take tasks with claim_next until nothing is left

The agents are forked after the imports and before anything is connected, so fifty cost little more than one.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import NoReturn

from tests.fault.programs.speech import facts_of, tell
from tracecraft import NotFound, Session
from tracecraft_core.errors import TracecraftError


class Gate:
    """A pipe for each agent, opened for all at once by its parent."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()


def contend(number: int, gate: Gate) -> None:
    """Claim each task as it is called out; the winner holds it until all have tried."""
    with Session(agent=f"racer{number}") as session:
        tell("ready", agent=session.agent)
        while task := _line(gate):
            try:
                with session.claim(task) as claim:
                    tell("won", agent=session.agent, task=task, fence=claim.fence)
                    _line(gate)
                    claim.complete(f"by {session.agent}")
            except TracecraftError as error:
                tell("refused", agent=session.agent, **facts_of(error))
                _line(gate)
            tell("through", agent=session.agent)


def reserve(number: int, gate: Gate) -> None:
    """Reserve one's own of the lists of globs that are called out; who has them keeps them until all have tried."""
    with Session(agent=f"racer{number}") as session:
        tell("ready", agent=session.agent)
        while line := _line(gate):
            choices = json.loads(line)
            globs = choices[number % len(choices)]
            try:
                held = session.reservations.reserve(*globs)
                tell("won", agent=session.agent, globs=globs, fences=[one.fence for one in held])
                _line(gate)
                session.reservations.release(all_=True)
            except TracecraftError as error:
                tell("refused", agent=session.agent, globs=globs, **facts_of(error))
                _line(gate)
            tell("through", agent=session.agent)


def drain(number: int, gate: Gate, folder: Path) -> None:
    """Take tasks until none is left, writing each down in a file of one's own."""
    with Session(agent=f"racer{number}") as session, (folder / f"racer{number}").open("a") as journal:
        tell("ready", agent=session.agent)
        _line(gate)
        done, started = 0, time.monotonic()
        while True:
            try:
                with session.claim_next("job.*", wait=60) as claim:
                    journal.write(f"{claim.task} {claim.fence}\n")
                    journal.flush()
                    done += 1
            except NotFound:
                break
        tell("finished", agent=session.agent, done=done, seconds=time.monotonic() - started)


def _line(gate: Gate) -> str:
    word = b""
    while not word.endswith(b"\n"):
        piece = os.read(gate.reader, 1)
        if not piece:
            return ""
        word += piece
    return word.decode().strip()


def _child(kind: str, number: int, gate: Gate, arguments: list[str]) -> NoReturn:
    try:
        if kind == "claim":
            contend(number, gate)
        elif kind == "files":
            reserve(number, gate)
        else:
            drain(number, gate, Path(arguments[0]))
    except BaseException as error:
        tell("crashed", agent=f"racer{number}", text=repr(error))
        os._exit(1)
    os._exit(0)


def main() -> None:
    """Fork the agents, then pass every line of stdin to all of them in one go."""
    kind, count, arguments = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    gates: list[Gate] = []
    for number in range(count):
        gate = Gate()
        if os.fork() == 0:
            for earlier in gates:
                os.close(earlier.writer)
            os.close(gate.writer)
            sys.stdin.close()
            _child(kind, number, gate, arguments)
        os.close(gate.reader)
        gates.append(gate)
    for line in sys.stdin:
        entered, _, word = line.strip().partition(" ")
        for gate in gates[: int(entered)]:
            os.write(gate.writer, f"{word}\n".encode())
    for gate in gates:
        os.close(gate.writer)
    for _ in gates:
        os.wait()


if __name__ == "__main__":
    main()
