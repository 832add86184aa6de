"""The examples, as ``make demo`` and ``make autoresearch`` run them; the search with fewer ideas."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def said(program: str, *arguments: str) -> list[str]:
    """What an example prints; it must end well."""
    command = [sys.executable, str(EXAMPLES / program), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout.splitlines()


def verdicts(lines: list[str]) -> list[str]:
    """What an example says about itself at its end."""
    return [line.strip() for line in lines if line.startswith(("  ok ", "  BAD "))]


def test_demo_survives_the_death_of_a_worker_and_checks_its_own_story() -> None:
    lines = said("stdlib_survey/demo.py")
    found = verdicts(lines)
    assert len(found) == 5
    assert any(line.startswith("ok") and "taken over from bash-2" in line for line in found)
    assert len([line for line in lines if line.endswith(" is open") or " tasks are open: " in line]) <= 3
    assert not [line for line in lines if line.endswith("|  (0) |")]


def test_the_search_tries_no_idea_twice_and_keeps_every_run_whole() -> None:
    lines = said("autoresearch/search.py", "--trials", "30")
    found = verdicts(lines)
    assert len(found) == 8
    assert any("30 runs, 30 ideas, none tried twice" in line for line in found)
    assert "ARGS=--keep" in lines[-1], "how to keep it is said at the end"
    assert not [line for line in lines if "/winner.html" in line], "a page that will be gone"
