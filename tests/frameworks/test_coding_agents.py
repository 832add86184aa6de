"""The example with the real Claude Code and Codex, as ``make coding-agents`` runs it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("claude_agent_sdk")
pytest.importorskip("codex_cli_bin")

PROGRAM = Path(__file__).parents[2] / "examples" / "coding_agents" / "together.py"


@pytest.mark.timeout(400)  # half a minute, but it has nine programs running
def test_two_sessions_share_a_repository_and_a_third_takes_over_from_the_killed_one() -> None:
    done = subprocess.run([sys.executable, PROGRAM, "--keep"], capture_output=True, text=True, timeout=380, check=False)
    kept = next(line for line in done.stdout.splitlines() if line.startswith("== kept "))
    folder = Path(kept.split()[2].rstrip(":"))
    try:
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
        verdicts = [line for line in done.stdout.splitlines() if line.startswith(("  ok ", "  BAD "))]
        assert len(verdicts) == 11
        assert "1 unread message for you from writer" in done.stdout, "what a hook told the model is printed"
        assert '"sender":"writer"' in done.stdout, "and what its tool gave it"
        assert all((folder / f"{name}.html").stat().st_size for name in ("reader", "writer", "relief"))
        assert not survivors(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def survivors(folder: Path) -> list[str]:
    """Processes that have to do with a folder, where the system shows that."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            if str(folder).encode() in words:
                found.append(f"{process.name}: {words[:200]!r}")
    return found
