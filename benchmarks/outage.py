"""The bus away for a minute under a run that logs 1,000 points and 100 steps a second.

nats-server is killed and stays down, then comes back. Printed: what a call takes before, meanwhile and afterwards,
whether ``flush`` says the truth while the bus is away, and whether everything is there in the end, in order, once.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import tracecraft
from benchmarks.report import percentile
from tracecraft_stack import Stack, StackOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracecraft import Flushed, Run, RunAgent, Session

POINTS_A_SECOND, STEPS_A_SECOND = 1_000, 100
SECONDS = 60.0
AROUND_S = 15.0
"""How long it logs before the outage, and after it."""
FINAL_S = 60.0


@dataclass
class Load:
    """The caller: logs at a steady rate, and keeps what each call took."""

    run: Run
    agent: RunAgent
    points: int = 0
    steps: int = 0
    metric: dict[str, list[float]] = field(default_factory=dict)
    step: dict[str, list[float]] = field(default_factory=dict)

    @property
    def taken(self) -> int:
        """Records so far: each point, and two events of each step."""
        return self.points + 2 * self.steps

    def log(self, phase: str, enough: Callable[[float], bool]) -> float:
        """One call a millisecond, and a step at every tenth, until enough seconds have passed; how many they were."""
        metric, step = self.metric.setdefault(phase, []), self.step.setdefault(phase, [])
        every, clock = POINTS_A_SECOND // STEPS_A_SECOND, time.perf_counter
        began, number = clock(), 0
        while not enough(clock() - began):
            start = clock()
            self.run.log_metric("loss", float(self.points), step=self.points)
            metric.append(clock() - start)
            self.points += 1
            if number % every == 0:
                start = clock()
                with self.agent.step(f"s{self.steps}"):
                    pass
                step.append(clock() - start)
                self.steps += 1
            number += 1
            time.sleep(max(0.0, began + number / POINTS_A_SECOND - clock()))
        return clock() - began


def main(argv: list[str]) -> None:
    """Log through an outage, then look at what the bridge has."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks outage")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long the bus is away (default 60)")
    away = parser.parse_args(argv).seconds
    with tempfile.TemporaryDirectory(prefix="tc-") as name, Stack(StackOptions(data=Path(name) / "stack")) as stack:
        os.environ["TRACECRAFT_SPOOL"] = f"{name}/spool"
        with tracecraft.init(server=stack.state.nats_url, project="bench", agent="bench") as session:
            with tracecraft.run("outage", patience=FINAL_S) as run, run.agent("worker") as agent:
                load = Load(run, agent)
                _through(stack, load, away)
                ended = time.perf_counter()
            assert run.summary is not None
            _ended(run.summary, load, time.perf_counter() - ended)
            _check(session, load)
        del os.environ["TRACECRAFT_SPOOL"]


def _through(stack: Stack, load: Load, away: float) -> None:
    load.log("before", lambda seconds: seconds > AROUND_S)
    stack.auto_restart = False
    stack.nats.kill()
    asked = threading.Thread(target=_ask, args=(load, away / 2))
    asked.start()
    load.log("while away", lambda seconds: seconds > away and not asked.is_alive())
    back = threading.Thread(target=_bring_back, args=(stack,))
    back.start()
    load.log("afterwards", lambda seconds: seconds > AROUND_S and not back.is_alive())
    back.join()
    print(f"{'call':<10} {'':<12} {'p50':>10} {'p99':>10} {'p99.9':>10} {'max':>11}")
    for label, phases in (("log_metric", load.metric), ("step", load.step)):
        for phase, took in phases.items():
            shown = (percentile(took, 0.5), percentile(took, 0.99), percentile(took, 0.999), max(took))
            middle, most, more, longest = (f"{value * 1e6:,.1f} us" for value in shown)
            print(f"{label:<10} {phase:<12} {middle:>10} {most:>10} {more:>10} {longest:>11} (n={len(took):,})")


def _ask(load: Load, later: float) -> None:
    """What ``flush`` says while the bus is away, from another thread."""
    time.sleep(later)
    before, start = load.taken, time.perf_counter()
    said = load.run.flush(5.0)
    took, after = time.perf_counter() - start, load.taken + 2  # the starts of the run and of its agent
    total = said.acknowledged + said.spooled + said.dropped
    truth = "true" if before <= total <= after and said.spooled else "FALSE"
    print(
        f"flush while away: {took:.2f} s; acknowledged {said.acknowledged:,} + spooled {said.spooled:,} + dropped "
        f"{said.dropped:,} = {total:,}, taken {before:,} to {after:,}: {truth}",
        flush=True,
    )


def _bring_back(stack: Stack) -> None:
    print(f"nats-server is back after a start of {stack.nats.start():.2f} s", flush=True)
    stack.auto_restart = True


def _ended(summary: Flushed, load: Load, seconds: float) -> None:
    expected = load.taken + 4  # the run and its agent start and end
    truth = "true" if summary.complete and summary.acknowledged == expected else "FALSE"
    print(
        f"end of the run: {seconds:.2f} s; acknowledged {summary.acknowledged:,} of {expected:,}, spooled "
        f"{summary.spooled:,}, dropped {summary.dropped:,}: {truth}",
        flush=True,
    )


def _check(session: Session, load: Load) -> None:
    """Everything is there, in order, once."""
    proof = session.runs.verify(load.run.id)
    found = [(step, value) for step, value, _, _ in session.runs.points(load.run.id, "loss")]
    names = [row.name for row in session.runs.steps(load.run.id)]
    expected = [(number, float(number)) for number in range(load.points)]
    writer = proof.writers[0]
    checks = {
        f"runs verify: complete, {writer.received:,} events, {writer.duplicates} repeats not counted": proof.complete,
        f"{load.points:,} points, {len(found):,} found, in order, once": found == expected,
        f"{load.steps:,} steps, {len(names):,} found, in order, once": names == [f"s{n}" for n in range(load.steps)],
    }
    for fact, holds in checks.items():
        print(f"{'ok ' if holds else 'BAD'} {fact}", flush=True)
    if not all(checks.values()):
        repeated = [point for point, times in Counter(found).items() if times > 1]
        print(f"    repeated {repeated[:5]}, missing {sorted(set(expected) - set(found))[:5]}, {proof}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
