"""A process that records: ``recording RUN load|full|disk|fork|…``, with the bus that its settings name, or none."""

from __future__ import annotations

import json
import os
import resource
import sys
import time

from tests.fault.programs.speech import tell
from tracecraft.recording.recorder import Recorder
from tracecraft_core import settings

RUN = sys.argv[1]


def _recorder() -> Recorder:
    chosen = settings.load()
    return Recorder(chosen, chosen.project, RUN, agent=chosen.agent)


def _record(recorder: Recorder, number: int, padding: str = "") -> None:
    recorder.record(recorder_agent(), "log", json.dumps({"text": f"{number}{padding}", "time": 1}).encode())


def recorder_agent() -> str:
    return os.environ["TRACECRAFT_AGENT"]


def load() -> None:
    """Events and points without end; the third argument is a file that gets the count of what was taken."""
    recorder = _recorder()
    taken = os.open(sys.argv[3], os.O_WRONLY | os.O_CREAT)
    tell("recording", writer=recorder.writer)
    number = 0
    while True:
        number += 1
        _record(recorder, number)
        recorder.metric(recorder_agent(), "n", float(number), number, 1)
        os.pwrite(taken, number.to_bytes(8, "little"), 0)
        if not number % 20:
            time.sleep(0.001)


def full() -> None:
    """More than the spool may hold, with no bus."""
    recorder = _recorder()
    for number in range(1, 3001):
        _record(recorder, number, "x" * 1000)
    counts = recorder.close(timeout=0.0)
    tell("full", spooled=counts.spooled, dropped=counts.dropped, where=counts.where)


def full_ends() -> None:
    """As `full`, and the run is ended."""
    _fill_and_end()


def disk_ends() -> None:
    """As `disk`, and the run is ended."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, 2 << 20))
    _fill_and_end()


def _fill_and_end() -> None:
    recorder = _recorder()
    for number in range(1, 3001):
        _record(recorder, number, "x" * 1000)
    counts = recorder.close((recorder_agent(), "ended", b'{"status":"finished","time":1}'), 0.0)
    tell("ended", dropped=counts.dropped, writer=recorder.writer)


def full_killed() -> None:
    """As `full`, and it never ends by itself."""
    recorder = _recorder()
    for number in range(1, 3001):
        _record(recorder, number, "x" * 1000)
    tell("full", dropped=recorder.counts().dropped)
    time.sleep(60)


def disk() -> None:
    """The disk takes one segment and no more."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, 2 << 20))
    recorder = _recorder()
    for number in range(1, 3001):
        _record(recorder, number, "x" * 1000)
    counts = recorder.close(timeout=20.0)
    tell("disk", acknowledged=counts.acknowledged, spooled=counts.spooled, dropped=counts.dropped)


def fork() -> None:
    """Parent and child go on with the same recorder."""
    recorder = _recorder()
    recorder.joined = lambda: (recorder_agent(), "joined", b'{"time":1}')
    for number in range(1, 101):
        _record(recorder, number)
    child = os.fork()
    for number in range(101, 201):
        _record(recorder, number)
    if child == 0:
        recorder.flush(10)
        _record(recorder, 201)
        os._exit(0)
    os.waitpid(child, 0)
    counts = recorder.close((recorder_agent(), "ended", b'{"status":"finished","time":1}'), 20)
    tell("forked", acknowledged=counts.acknowledged, spooled=counts.spooled, writer=recorder.writer)


if __name__ == "__main__":
    globals()[sys.argv[2].replace("-", "_")]()
