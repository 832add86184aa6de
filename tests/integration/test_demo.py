"""The demo, as ``make demo`` runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DEMO = Path(__file__).parents[2] / "examples" / "stdlib_survey" / "demo.py"


def test_demo_survives_the_death_of_a_worker_and_checks_its_own_story() -> None:
    done = subprocess.run([sys.executable, DEMO], capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    verdicts = [line.strip() for line in done.stdout.splitlines() if line.startswith(("  ok ", "  BAD "))]
    assert len(verdicts) == 5
    assert any(line.startswith("ok") and "taken over from bash-2" in line for line in verdicts)
