"""1,000,000 metric points and 100,000 steps, each in one run, through the SDK and a whole stack: end to end.

``logged`` is when the caller's loop is done, ``acknowledged`` when the log has all of it, ``mirrored`` when the bridge
answers with all of it; all three count from the first call. Every server shares the machine, fsync as in production.
Targets: a plot in 200 ms, ``runs inspect`` of 100,000 steps in 1.5 s, replay with at most three range reads.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import tracecraft
from benchmarks.report import milliseconds, percentile, timed
from tracecraft.queries import ask
from tracecraft_core.bundle import BundleReader, HttpSource
from tracecraft_core.queries import Download, GetQuestion
from tracecraft_stack import Stack, StackOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tracecraft import Run, RunAgent, Session
    from tracecraft_core.queries import RunDetail

POINTS = 1_000_000
STEPS = 100_000
ITERATIONS, PLANS, CALLS = 100, 9, 10
"""An iteration of the loop has plans, a plan has calls: 100 steps an iteration."""
TIMES = 5
PLOTS = 30
PATIENCE_S = 300.0
LOOK_S = 0.05


def main(argv: list[str]) -> None:
    """Both runs on one stack."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks million")
    parser.add_argument("--points", type=int, default=POINTS)
    parser.add_argument("--steps", type=int, default=STEPS, help="rounded to hundreds")
    chosen = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="tc-") as name, Stack(StackOptions(data=Path(name) / "stack")) as stack:
        os.environ["TRACECRAFT_SPOOL"] = f"{name}/spool"
        with tracecraft.init(server=stack.state.nats_url, project="bench", agent="bench") as session:
            points(session, chosen.points)
            run = steps(session, chosen.steps // ITERATIONS * ITERATIONS)
            _commands(stack.state.nats_url, run, Path(name))
            _reads(session, run)
        del os.environ["TRACECRAFT_SPOOL"]


def points(session: Session, count: int) -> None:
    """One run of many points: how long until it can be plotted, and how long a plot takes."""
    print(f"{count:,} points in one run", flush=True)
    with tracecraft.run("points", patience=PATIENCE_S) as run:
        began = time.perf_counter()
        took = _log_points(run, count)
        _tell("logged", began, count, f"a call: p50 {_us(took, 0.5)}, p99 {_us(took, 0.99)}, max {_us(took, 1.0)}")
        counts = run.flush(None)
        assert counts.complete, counts
        _tell("acknowledged", began, count)
        _mirrored(session, run.id, lambda detail: detail.points >= count)
        _tell("mirrored", began, count)
    assert session.runs.verify(run.id).complete
    assert session.runs.get(run.id).points == count
    for wanted in (500, 2_000):
        asked = timed(lambda wanted=wanted: session.runs.curves(run.id, "loss", points=wanted), PLOTS)  # type: ignore[misc]
        print(f"  plot of {wanted:>5,}    {milliseconds(asked)}", flush=True)


def _log_points(run: Run, count: int) -> list[float]:
    took, clock = [0.0] * count, time.perf_counter
    for number in range(count):
        start = clock()
        run.log_metric("loss", 1 / (number + 1), step=number)
        took[number] = clock() - start
    return took


def steps(session: Session, count: int) -> RunDetail:
    """One run of many steps: how long until it is there, and how long it takes to open it."""
    print(f"{count:,} steps in one run, nine tenths with an output", flush=True)
    with tracecraft.run("steps", patience=PATIENCE_S) as run:
        with run.agent("worker") as agent:
            began = time.perf_counter()
            for number in range(count // ITERATIONS):
                _iteration(agent, number)
            _tell("logged", began, count)
        counts = run.flush(None)
        assert counts.complete, counts
        _tell("acknowledged", began, count, f"{counts.acknowledged:,} events")
        _mirrored(session, run.id, lambda detail: detail.row.steps >= count)
        _tell("mirrored", began, count)
    ended = time.perf_counter()
    detail = _mirrored(session, run.id, lambda detail: detail.bundle is not None)
    assert detail.bundle is not None
    print(f"  bundle made   {time.perf_counter() - ended:6.2f} s after the end, {detail.bundle.size / 1e6:.1f} MB")
    assert session.runs.verify(run.id).complete
    return detail


def _iteration(agent: RunAgent, number: int) -> None:
    with agent.step(f"iteration {number}", kind="task"):
        for plan in range(PLANS):
            with agent.step("plan"):
                for call in range(CALLS):
                    with agent.step(f"call {call}", kind="tool_call") as step:
                        step.log_output({"iteration": number, "plan": plan, "found": call * number % 97})


def _commands(url: str, detail: RunDetail, folder: Path) -> None:
    run, middle = detail.row.run, str((detail.first_seq + detail.last_seq) // 2)
    commands = {
        "runs inspect": f"tracecraft runs inspect {run}",
        "replay | head": f"tracecraft replay {run} --print | head -n 20",
        "replay --at": f"tracecraft replay {run} --at {middle}",
        "runs export": f"tracecraft runs export {run} -o {folder}/steps.tcb",
        "replay FILE|head": f"tracecraft replay {folder}/steps.tcb --print | head -n 20",
    }
    environment = os.environ | {
        "TRACECRAFT_SERVER": url,
        "TRACECRAFT_PROJECT": "bench",
        "TRACECRAFT_AGENT": "reader",
        "HOME": str(folder),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    for label, command in commands.items():
        took = []
        for _ in range(TIMES):
            start = time.perf_counter()
            done = subprocess.run(command, shell=True, env=environment, capture_output=True, check=True)
            took.append(time.perf_counter() - start)
            assert done.stdout, done.stderr
        print(f"  {label:<17}{statistics.median(took):6.2f} s, most {max(took):.2f} s (n={TIMES})", flush=True)


def _reads(session: Session, detail: RunDetail) -> None:
    """What replay does, with its range reads counted: open the bundle, and look at one entry."""
    assert detail.bundle is not None
    question, inner = GetQuestion(sha256=detail.bundle.sha256), session._inner
    url = session._portal.run(ask(inner.context, "artifacts.get", question, Download)).url
    start = time.perf_counter()
    with BundleReader.open(HttpSource(url)) as bundle:
        opened, reads = time.perf_counter() - start, bundle.source.reads
        assert bundle.entry((detail.first_seq + detail.last_seq) // 2) is not None
        seen = time.perf_counter() - start
        print(
            f"  bundle over HTTP: open {opened * 1e3:.0f} ms, {reads} range reads; an entry of the middle "
            f"{seen * 1e3:.0f} ms, {bundle.source.reads} range reads",
            flush=True,
        )


def _mirrored(session: Session, run: str, enough: Callable[[RunDetail], bool]) -> RunDetail:
    deadline = time.monotonic() + PATIENCE_S
    while not enough(detail := session.runs.get(run)):
        if time.monotonic() > deadline:
            raise SystemExit(f"not mirrored after {PATIENCE_S:.0f} s: {detail}")
        time.sleep(LOOK_S)
    return detail


def _tell(what: str, began: float, count: int, more: str = "") -> None:
    seconds = time.perf_counter() - began
    print(f"  {what:<13} {seconds:6.2f} s  {count / seconds:9,.0f}/s  {more}".rstrip(), flush=True)


def _us(took: Sequence[float], share: float) -> str:
    return f"{percentile(took, share) * 1e6:,.1f} us"


if __name__ == "__main__":
    main(sys.argv[1:])
