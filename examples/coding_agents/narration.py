"""Tells what happened: what the models were shown, then what a person would ask tracecraft about it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

from script import READER, RELIEF, WRITER

if TYPE_CHECKING:
    from pathlib import Path

    from model import Model

    from tracecraft_core.queries import RunRow

SHOWN = (
    (READER, r"[^\n]*unread messages? for you from[^\n]*", "reader's model was told this by a hook"),
    (READER, r'\{[^\n]*"sender":"writer"[^\n]*', "and was given this by its tool 'inbox'"),
    (READER, r"[^\n]*is reserved by the agent.*?(?=\n|$)", "reader's model was told this in place of its edit"),
    (READER, r"Before you stop: [^\n]*", "reader's model was told this when it wanted to stop"),
    (WRITER, r'\{[^\n]*"sender":"reader"[^\n]*', "writer's model was given this by its tool 'wait'"),
)
"""What is worth to be seen with one's own eyes: of whom, what, and what it is."""


KINDS = ("run", "task", "message")
"""What of a replay is printed; the rest is what each model was told and answered."""


class Narrator:
    """Asks tracecraft for one project, and prints."""

    def __init__(self, folder: Path, server: str, project: str) -> None:
        self._environment = os.environ | {
            "TRACECRAFT_SERVER": server,
            "TRACECRAFT_PROJECT": project,
            "XDG_STATE_HOME": str(folder / "state"),
            "COLUMNS": "140",
        }
        self._environment.pop("TRACECRAFT_RUN", None)

    def tell(self, model: Model, runs: dict[str, RunRow]) -> dict[str, str]:
        """What happened, from the models' side and from ours. The whole replays, by agent."""
        for name, pattern, title in SHOWN:
            say(title)
            print(_first(model, name, pattern))
        say("the tasks")
        self._ask("tasks")
        self._ask("task", "show", "ledger.report")
        say("each session is a run, out of the agent's own transcript")
        self._ask("runs", "--columns", "run,agent,status,tags.source,steps,errors,tokens,cost")
        self._ask("runs", "inspect", runs[WRITER].run)
        say("the replay: who did what while writer lived, and what relief found")
        for name in (WRITER, RELIEF):
            self._ask("replay", runs[name].run, "--print", *(word for kind in KINDS for word in ("--kind", kind)))
        say("and what went wrong for reader")
        self._ask("replay", runs[READER].run, "--print", "--errors")
        return {name: self._answer("replay", run.run, "--print") for name, run in runs.items()}

    def write_pages(self, runs: dict[str, RunRow], folder: Path) -> None:
        """The replays as pages to look at."""
        for name, run in runs.items():
            self._answer("replay", run.run, "--html", str(folder / f"{name}.html"))

    def _ask(self, *words: str) -> None:
        print(f"\n$ tracecraft {shlex.join(words)}\n{self._answer(*words)}", end="", flush=True)

    def _answer(self, *words: str) -> str:
        command = [sys.executable, "-P", "-m", "tracecraft_cli", *words]
        done = subprocess.run(command, env=self._environment, stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise SystemExit(f"tracecraft {shlex.join(words)} ended with {done.returncode}")
        return done.stdout


def _first(model: Model, name: str, pattern: str) -> str:
    for _, text in model.read(name):
        if found := re.search(pattern, text, re.DOTALL):
            return "\n".join(f"  | {line}" for line in found[0].splitlines())
    return "  | nothing"


def say(words: str) -> None:
    """Tell the person what is going on."""
    print(f"\n== {words}", flush=True)
