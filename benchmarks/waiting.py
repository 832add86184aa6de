"""From ``complete`` in one process to the return of ``wait-for`` in another (target: p99 10 ms)."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import tracecraft
from benchmarks.peer import OUR_COMMAND
from benchmarks.report import milliseconds
from tracecraft_stack import NatsServer

TIMES = 300
COMMANDS = 15

WAITER = """
import sys, time, tracecraft
with tracecraft.connect(agent="waiter") as session:
    for task in sys.stdin:
        print("ready", flush=True)
        session.wait_for(task.strip(), timeout=30)
        print(time.perf_counter(), flush=True)
"""


def main(_: list[str]) -> None:
    """Measure the SDK and the whole command."""
    with tempfile.TemporaryDirectory() as name, NatsServer(Path(name), token=uuid.uuid4().hex) as server:
        environment = os.environ | {"TRACECRAFT_SERVER": server.url, "TRACECRAFT_PROJECT": "bench"}
        with tracecraft.connect(server=server.url, project="bench", agent="worker") as session:
            print("SDK, from the call of complete:      ", milliseconds(_sdk(session, environment)))
            print("command, until its process has ended:", milliseconds(_command(session, environment)))


def _sdk(session: tracecraft.Session, environment: dict[str, str]) -> list[float]:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITER], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    took = []
    with process:
        for number in range(TIMES):
            with session.claim(f"sdk.{number}") as claim:
                process.stdin.write(f"{claim.task}\n")
                process.stdin.flush()
                process.stdout.readline()
                time.sleep(0.02)  # let the waiter be waiting: the board is open within a few ms
                start = time.perf_counter()
                claim.complete()
            took.append(float(process.stdout.readline()) - start)
        process.stdin.close()
    return took


def _command(session: tracecraft.Session, environment: dict[str, str]) -> list[float]:
    took = []
    for number in range(COMMANDS):
        with session.claim(f"command.{number}") as claim:
            command = [str(OUR_COMMAND), "wait-for", claim.task, "--timeout", "30", "--agent", "waiter"]
            process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
            time.sleep(0.5)
            start = time.perf_counter()
            claim.complete()
            if process.wait() != 0:
                raise SystemExit("wait-for failed")
        took.append(time.perf_counter() - start)
    return took
