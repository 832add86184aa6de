"""Runs the search: starts the stack and six researchers, then shows what was found, and checks it."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import verdict
from space import DATASETS

import tracecraft
from tracecraft_stack import Change, Stack, StackEvent, StackOptions

if TYPE_CHECKING:
    from tracecraft_core.local import StackState
    from tracecraft_core.queries import RunRow

HERE = Path(__file__).parent
PROJECT = "autoresearch"
WORKERS = 6


def main() -> int:
    """Run the example; 0 when every check holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=300, help="how many ideas to try (default 300)")
    parser.add_argument("--keep", action="store_true", help="keep the folder with the stack's data and the pages")
    wanted = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tracecraft-autoresearch-"))
    try:
        with Stack(StackOptions(data=folder / "stack", fsync=False), _report_stack) as stack:
            say("the stack is ready; it lives in a temporary folder")
            good = run(stack.state, folder, wanted.trials, keep=wanted.keep)
            say("stopping the stack")
        return 0 if good else 1
    finally:
        if wanted.keep:
            say(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
            say("nothing is kept; with ARGS=--keep the data and a page of the winner (winner.html) are")


def run(state: StackState, folder: Path, trials: int, *, keep: bool) -> bool:
    """Let the researchers work, then show and check what they found."""
    environment = os.environ | {
        "TRACECRAFT_SERVER": state.nats_url,
        "TRACECRAFT_PROJECT": PROJECT,
        "XDG_STATE_HOME": str(folder / "state"),
        "COLUMNS": "140",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    environment.pop("TRACECRAFT_RUN", None)
    started = time.monotonic()
    agents = {
        name: subprocess.Popen([sys.executable, "researcher.py", name, str(trials)], cwd=HERE, env=environment)
        for name in (f"researcher-{number}" for number in range(1, WORKERS + 1))
    }
    say(f"{WORKERS} researchers try {trials} ideas, in processes of their own")
    failed = [name for name, process in agents.items() if process.wait(timeout=600) != 0]
    took = time.monotonic() - started
    say(f"{trials} ideas tried in {took:.1f} s" + (f"; failed: {failed}" if failed else ""))
    with tracecraft.connect(server=state.nats_url, project=PROJECT, agent="narrator") as session:
        best = {dataset: session.memory.get(f"best.{dataset}") for dataset in DATASETS}
        board = session.runs.list(
            f'tags.dataset = "{DATASETS[0]}" and status = finished', sort="-metrics.score", limit=3
        )
        show(environment, board, folder if keep else None)
        say("checked:")
        facts = verdict.check(session, trials, best)
    for holds, fact in facts:
        print(f"  {'ok ' if holds else 'BAD'} {fact}")
    good = all(holds for holds, _ in facts) and not failed
    say("the search holds: every check is ok" if good else "the search FAILED: see the lines marked BAD above")
    return good


def show(environment: dict[str, str], board: list[RunRow], folder: Path | None) -> None:
    """What a researcher asks in the morning, each by one command; a page of the winner goes into the folder."""
    winner = board[0].run
    say("the leaderboard")
    columns = ("--columns", "run,name,agent,metrics.score,metrics.cpu_seconds,cost")
    wanted = f'tags.dataset = "{DATASETS[0]}" and status = finished'
    _command(environment, "runs", wanted, "--sort", "-metrics.score", "--limit", "5", *columns)
    say("what failed, and why")
    _command(environment, "runs", "status = failed", "--limit", "4", "--columns", "run,name,agent,reason")
    say("already tried? the idea is claimed by its hash, and this is what came of it")
    _command(environment, "task", "show", f"idea.{board[0].tags['idea']}")
    say("the top three compared")
    _command(environment, "runs", "compare", *(row.run for row in board))
    say("what it cost")
    _command(environment, "cost", "--by", "agent")
    say("the winner, replayed")
    _command(environment, "replay", winner, "--print")
    if folder is not None:
        _command(environment, "replay", winner, "--html", str(folder / "winner.html"))
    _command(environment, "runs", "verify", winner)


def _command(environment: dict[str, str], *words: str) -> None:
    print(f"\n$ tracecraft {shlex.join(words)}", flush=True)
    subprocess.run(["tracecraft", *words], env=environment, check=True)


def _report_stack(event: StackEvent) -> None:
    if event.change in (Change.READY, Change.FAILED, Change.DIED):
        took = f" after {event.seconds:.1f} s" if event.seconds else ""
        print(f"  {event.server} {event.change.value}{took} {event.detail}".rstrip(), flush=True)


def say(words: str) -> None:
    """Tell the person what is going on."""
    print(f"\n== {words}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
