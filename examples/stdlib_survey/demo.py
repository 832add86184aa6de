"""Runs the survey: starts the stack and the agents, kills one of them, tells the story and checks it."""

from __future__ import annotations

import argparse
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

import story
from analyse import packages

import tracecraft
from tracecraft_stack import Change, Stack, StackEvent, StackOptions

if TYPE_CHECKING:
    from tracecraft_core.local import StackState

HERE = Path(__file__).parent
PROJECT = "stdlib-survey"
VICTIM = "bash-2"
"""The worker that is killed in the middle of a task."""


def main() -> int:
    """Run the demo; 0 when every check holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="keep the folder with the stack's data and the report")
    keep = parser.parse_args().keep
    folder = Path(tempfile.mkdtemp(prefix="tracecraft-demo-"))
    try:
        with Stack(StackOptions(data=folder / "stack", fsync=False), _report_stack) as stack:
            say("the stack is ready; it lives in a temporary folder")
            good = run(stack.state, folder)
            say("stopping the stack")
        return 0 if good else 1
    finally:
        if keep:
            say(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def run(state: StackState, folder: Path) -> bool:
    """Run the agents to the end, then tell and check the story."""
    environment = os.environ | {
        "TRACECRAFT_SERVER": state.nats_url,
        "TRACECRAFT_PROJECT": PROJECT,
        "XDG_STATE_HOME": str(folder / "state"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    report = folder / "report.md"
    started = time.monotonic()
    subprocess.run([sys.executable, HERE / "planner.py"], env=environment, check=True)
    agents = {
        "writer": _start([sys.executable, "writer.py", str(report)], environment),
        "sdk-1": _start([sys.executable, "worker.py", "sdk-1"], environment),
        "sdk-2": _start([sys.executable, "worker.py", "sdk-2"], environment),
        "bash-1": _start(["bash", "worker.sh"], environment | {"TRACECRAFT_AGENT": "bash-1"}),
        VICTIM: _start(["bash", "worker.sh"], environment | {"TRACECRAFT_AGENT": VICTIM}, watched=True),
    }
    say("five agents work, in processes of their own: " + ", ".join(agents))
    _kill_in_the_middle(agents.pop(VICTIM))
    failed = [name for name, process in agents.items() if process.wait(timeout=300) != 0]
    say(f"all agents have ended after {time.monotonic() - started:.1f} s" + (f"; failed: {failed}" if failed else ""))
    _wait_for_mirror(state)
    lines = story.read(state.postgres_dsn, PROJECT)
    say("the story, in log order, out of PostgreSQL (numbers left out are receipts):")
    print("\n".join(story.tell(lines)))
    say("the report (its first rows):")
    text = report.read_text(encoding="utf-8") if report.exists() else ""
    print("\n".join(text.splitlines()[:9]))
    say("checked against the story:")
    verdict = story.check(lines, packages(), VICTIM, text)
    for holds, fact in verdict:
        print(f"  {'ok ' if holds else 'BAD'} {fact}")
    good = all(holds for holds, _ in verdict) and not failed
    say("the demo holds: every check is ok" if good else "the demo FAILED: see the lines marked BAD above")
    return good


def _start(command: list[str], environment: dict[str, str], *, watched: bool = False) -> subprocess.Popen[str]:
    output = subprocess.PIPE if watched else None
    return subprocess.Popen(command, cwd=HERE, env=environment, stdout=output, text=True, start_new_session=True)


def _kill_in_the_middle(process: subprocess.Popen[str]) -> None:
    """Wait until the victim has begun a task, then kill it and all that it started."""
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", flush=True)
        if " has survey." in line:
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    say(f"killed {VICTIM} with SIGKILL in the middle of a task; its lease lapses within 3 s")


def _wait_for_mirror(state: StackState) -> None:
    """Wait until the bridge has everything that is in the log now."""
    with tracecraft.connect(server=state.nats_url, project=PROJECT, agent="narrator") as session:
        wanted = session.broadcast("the demo is over").id
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


def say(words: str) -> None:
    """Tell the person what is going on."""
    print(f"\n== {words}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
