"""Real coding agents side by side: two share a repository, one is killed, a third finishes what it had begun."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import facts
import programs
from model import Model
from narration import Narrator, say
from repository import Repository
from script import PROMPTS, READER, RELIEF, WRITER, rules

import tracecraft
from tracecraft_core import coding_session
from tracecraft_stack import Change, Stack, StackEvent, StackOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from programs import CodingAgent

    from tracecraft_core.local import StackState

PROJECT = "ledger"
"""Also in the repository's .tracecraft.toml."""

TEAM = {
    READER: (programs.ClaudeCode, "amounts"),
    WRITER: (programs.Codex, "report"),
    RELIEF: (programs.ClaudeCode, "report"),
}
"""Who is what, and works in which worktree: who relieves another works where that one was."""

START = "ledger.start"
"""The task on which the others depend: it is done when reader and writer are there."""

PATIENCE_S = 90.0
"""Seconds that an agent may take."""


def main() -> int:
    """Run the example; 0 when every check holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="keep the folder: replays as pages, repository, data")
    keep = parser.parse_args().keep
    if absent := programs.missing():
        say(f"not installed here: {', '.join(absent)}; 'make coding-agents' makes the environment that has them")
        return 1
    # A socket's path must be short, which that of macOS' own temporary folder is not.
    folder = Path(tempfile.mkdtemp(prefix="tc-agents-", dir="/tmp"))
    try:
        with Stack(StackOptions(data=folder / "stack", fsync=False), _report_stack) as stack:
            say("the stack is ready; it lives in a temporary folder")
            good = run(stack.state, folder, keep=keep)
            say("stopping the stack")
        return 0 if good else 1
    finally:
        if keep:
            say(f"kept {folder}: the replays are pages there ({', '.join(f'{name}.html' for name in TEAM)})")
        else:
            shutil.rmtree(folder, ignore_errors=True)
            say("nothing is kept; with ARGS=--keep the data and the replays as pages are")


def run(state: StackState, folder: Path, *, keep: bool) -> bool:
    """Let the agents work, then tell and check what they did."""
    repository = Repository(folder / "ledger", "amounts", "report")
    say("a repository with two mistakes in it, and two worktrees: " + ", ".join(repository.trees))
    with (
        Model(folder, rules(repository.trees)) as model,
        tracecraft.connect(server=state.nats_url, project=PROJECT, agent="narrator") as session,
    ):
        _plan(session)
        started = time.monotonic()
        with _team(folder, repository, state, model) as team:
            failed = _work(team, model, session)
            _wait_for_sidecars(folder)
        say(f"all have ended, after {time.monotonic() - started:.1f} s" + "".join(failed))
        _wait_for_mirror(session, state)
        runs = {one.agent: one for one in session.runs.list() if one.agent in TEAM}
        if missing := sorted(set(TEAM) - set(runs)):
            say(f"it FAILED: there is no run of {', '.join(missing)}")
            return False
        narrator = Narrator(folder, state.nats_url, PROJECT)
        replays = narrator.tell(model, runs)
        if keep:
            narrator.write_pages(runs, folder)
        changes = facts.changes(state.postgres_dsn, PROJECT)
        say("checked:")
        found = facts.check(facts.Evidence(session, model, repository, runs, replays, changes))
    for holds, fact in found:
        print(f"  {'ok ' if holds else 'BAD'} {fact}")
    good = all(holds for holds, _ in found) and not failed
    say("it holds: every check is ok" if good else "it FAILED: see the lines marked BAD above")
    return good


def _plan(session: tracecraft.Session) -> None:
    session.tasks.add(START, title="everybody is here")
    session.tasks.add("ledger.shape", title="agree what an amount is", after=[START])
    session.tasks.add("ledger.amounts", title="read amounts as people write them", after=["ledger.shape"])
    session.tasks.add("ledger.report", title="print the total for people", after=[START])


@contextlib.contextmanager
def _team(folder: Path, repository: Repository, state: StackState, model: Model) -> Iterator[dict[str, CodingAgent]]:
    """The agents, installed; nothing of them is left behind."""
    say("real programs get tracecraft's plugin; only their models are played, by a stub on this machine")
    team: dict[str, CodingAgent] = {}
    try:
        for name, (kind, tree) in TEAM.items():
            team[name] = kind(name, folder, repository.trees[tree], server=state.nats_url, model=model.url)
            print(f"  {name} is {kind.title}, in the worktree {tree}", flush=True)
        yield team
    finally:
        for agent in team.values():
            agent.close()
        for sidecar in _sidecars(folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(sidecar, signal.SIGKILL)


def _work(team: dict[str, CodingAgent], model: Model, session: tracecraft.Session) -> list[str]:
    """The plot. What went wrong, in words."""
    with session.claim(START):
        for name in (READER, WRITER):
            team[name].start(PROMPTS[name])
        _wait_for_runs(session, READER, WRITER)
    say(f"{READER} and {WRITER} are here, and work at the same time")
    model.wait_until_it_thinks(WRITER, PATIENCE_S)
    team[RELIEF].start(PROMPTS[RELIEF])
    _wait_for_runs(session, RELIEF)
    say(f"{RELIEF} is here, for the task that {WRITER} holds")
    code = team[WRITER].kill()
    say(f"killed {WRITER} with SIGKILL, its work half done and its file reserved (it ended with {code})")
    return [words for name in (READER, RELIEF) if (words := _failure(team[name]))]


def _wait_for_runs(session: tracecraft.Session, *names: str) -> None:
    """Wait until the bridge knows the runs of these agents: what they do from now on is inside of them."""
    deadline = time.monotonic() + PATIENCE_S
    while not set(names) <= {run.agent for run in session.runs.list()}:
        if time.monotonic() > deadline:
            raise SystemExit(f"no run of {' or '.join(names)} within {PATIENCE_S:.0f} s")
        time.sleep(0.05)


def _failure(agent: CodingAgent) -> str:
    """Why an agent did not end well, with the end of what it printed; empty when it did."""
    try:
        code = agent.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        code = agent.kill()
    said = agent.output.read_text(errors="replace")[-2000:]
    return f"; {agent.name} ended with {code}:\n{said}" if code else ""


def _sidecars(folder: Path) -> Iterator[int]:
    """The small processes of ours beside the agents that still live."""
    for path in (folder / "run" / "tracecraft").glob("*.json"):
        found = coding_session.read(str(path))
        if found is not None and found.sidecar_lives():
            yield found.sidecar


def _wait_for_sidecars(folder: Path) -> None:
    """Wait until the end of each transcript is mirrored."""
    deadline = time.monotonic() + 30
    while any(_sidecars(folder)):
        if time.monotonic() > deadline:
            raise SystemExit(f"a sidecar did not end within 30 s: {list(_sidecars(folder))}")
        time.sleep(0.05)


def _wait_for_mirror(session: tracecraft.Session, state: StackState) -> None:
    """Wait until the bridge has everything that is in the log now."""
    wanted = session.broadcast("it is over").id
    for _ in range(600):
        with urllib.request.urlopen(f"{state.bridge_url}/healthz", timeout=5) as answer:
            if json.load(answer)["last_seq"] >= wanted:
                return
        time.sleep(0.05)
    raise SystemExit("the bridge did not catch up within 30 s")


def _report_stack(event: StackEvent) -> None:
    if event.change in (Change.READY, Change.FAILED, Change.DIED):
        took = f" after {event.seconds:.1f} s" if event.seconds else ""
        print(f"  {event.server} {event.change.value}{took} {event.detail}".rstrip(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
