"""Processes racing for tasks: one winner each, and how fast the tasks go."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path

import tracecraft
from benchmarks.report import milliseconds
from tracecraft_core.plans import PlannedTask
from tracecraft_stack import NatsServer

PROCESSES = 50
TASKS = 1000

RACER = """
import sys, time, tracecraft
with tracecraft.connect(agent=sys.argv[1]) as session:
    print("ready", flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        try:
            with session.claim(line.strip()) as claim:
                print("won", time.perf_counter() - start, flush=True)
                sys.stdin.readline()
        except tracecraft.Refused:
            print("lost", time.perf_counter() - start, flush=True)
            sys.stdin.readline()
"""

WORKER = """
import sys, tracecraft
with tracecraft.connect(agent=sys.argv[1]) as session:
    print("ready", flush=True)
    sys.stdin.readline()
    while True:
        try:
            with session.claim_next("many.*") as claim:
                print(claim.task, flush=True)
        except tracecraft.NotFound:
            break
        except tracecraft.Refused:  # the last ones are in other hands
            session.wait_for("many.*", timeout=60)
"""


def main(_: list[str]) -> None:
    """Race on a server of its own."""
    with tempfile.TemporaryDirectory() as name, NatsServer(Path(name), token=uuid.uuid4().hex) as server:
        environment = os.environ | {"TRACECRAFT_SERVER": server.url, "TRACECRAFT_PROJECT": "bench"}
        _one_task(environment)
        with tracecraft.connect(server=server.url, project="bench", agent="planner") as session:
            session.tasks.apply([PlannedTask(id=f"many.{number}") for number in range(TASKS)])
        _many_tasks(environment)


def _start(program: str, environment: dict[str, str]) -> list[subprocess.Popen[str]]:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, f"w{number}"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    for process in processes:
        _line(process)
    return processes


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _tell(process: subprocess.Popen[str], words: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{words}\n")
    process.stdin.flush()


def _end(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        with process:
            pass


def _one_task(environment: dict[str, str]) -> None:
    processes = _start(RACER, environment)
    winners: Counter[int] = Counter()
    won, lost = [], []
    for number in range(20):
        for process in processes:
            _tell(process, f"one.{number}")
        answers = [_line(process).split() for process in processes]
        winners[sum(answer[0] == "won" for answer in answers)] += 1
        won += [float(answer[1]) for answer in answers if answer[0] == "won"]
        lost += [float(answer[1]) for answer in answers if answer[0] == "lost"]
        for process in processes:
            _tell(process, "next")
    _end(processes)
    print(f"{PROCESSES} processes race for one task, 20 times: winners a race {dict(winners)} (must be all 1)")
    print(f"  the winner knows after {milliseconds(won)}")
    print(f"  a loser knows after    {milliseconds(lost)}")


def _many_tasks(environment: dict[str, str]) -> None:
    processes = _start(WORKER, environment)
    start = time.perf_counter()
    for process in processes:
        _tell(process, "go")
    done: Counter[str] = Counter()
    for process in processes:
        assert process.stdout is not None
        done.update(line.strip() for line in process.stdout)
    took = time.perf_counter() - start
    _end(processes)
    twice = [task for task, times in done.items() if times > 1]
    print(f"{TASKS} tasks by {PROCESSES} processes: {len(done)} done, {len(twice)} twice (must be 0), {took:.1f} s,")
    print(f"  {len(done) / took:.0f} tasks/s claimed and completed, on the cores that the server shares")
