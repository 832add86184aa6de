"""What a hook costs a coding agent: whole processes, for each event, with and without a sidecar that answers.

Target: under 100 ms of the agent's time at every event (the first prompt of a session waits for its sidecar, once).
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import milliseconds, timed
from tracecraft_core import coding_session
from tracecraft_stack.nats_server import NatsServer

RUNS = 50
COLD_RUNS = 10
EVENTS: dict[str, dict[str, object]] = {
    "UserPromptSubmit": {"prompt": "go on"},
    "PreToolUse": {"tool_name": "Write", "tool_input": {"file_path": "a.py", "content": "x" * 10_000}},
    "PreToolUse (a command)": {"tool_name": "Bash", "tool_input": {"command": "ls"}},
    "PostToolUse": {"tool_name": "Bash", "tool_input": {"command": "ls"}, "tool_response": "x" * 20_000},
    "PostToolUse (1 MB)": {"tool_name": "Bash", "tool_input": {"command": "ls"}, "tool_response": "x" * 1_000_000},
    "Stop": {"stop_hook_active": False},
}
HOOK = [sys.executable, "-P", "-m", "tracecraft_cli.hook"]


class Session:
    """A session whose coding agent is this process."""

    def __init__(self, folder: Path, server: str) -> None:
        self.id, self._folder = secrets.token_hex(8), folder
        state = {"XDG_STATE_HOME": str(folder), "TMPDIR": str(folder), "CLAUDE_CODE_SESSION_ID": self.id}
        self._env = {**os.environ, **state, "TRACECRAFT_SERVER": server, "TRACECRAFT_PROJECT": "bench"}
        os.environ.update(state)

    def hook(self, event: str, **fields: object) -> None:
        """One event, as a coding agent has it."""
        said = {
            "session_id": self.id,
            "cwd": str(self._folder),
            "transcript_path": "",
            "hook_event_name": event.split()[0],
        }
        payload = json.dumps({**said, **fields}).encode()
        subprocess.run(HOOK, input=payload, env=self._env, check=True, capture_output=True)

    def start(self) -> tuple[float, float]:
        """Seconds of the first event and of the first prompt, which begins at once after it."""
        took = []
        for event in ("SessionStart", "UserPromptSubmit"):
            began = time.perf_counter()
            self.hook(event, source="startup")
            took.append(time.perf_counter() - began)
        return took[0], took[1]

    @property
    def sidecar(self) -> int:
        """Its pid."""
        found = coding_session.named(coding_session.name("claude", self.id))
        assert found is not None
        return found.sidecar


def main(_: list[str]) -> None:
    """Cold, warm, and with a sidecar that hangs."""
    with tempfile.TemporaryDirectory(prefix="tc-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with NatsServer(folder / "nats", token=secrets.token_hex(8)) as nats:
            _measure(folder, nats.url)


def _measure(folder: Path, server: str) -> None:
    bare = timed(lambda: subprocess.run([sys.executable, "-c", "import json, socket"], check=True), RUNS)
    print(f"{'python that does nothing':<28} {milliseconds(bare)}", flush=True)
    first, prompt = [], []
    for _ in range(COLD_RUNS):
        session = Session(folder, server)
        start = session.start()
        first.append(start[0])
        prompt.append(start[1])
        os.kill(session.sidecar, signal.SIGKILL)
    print(f"{'SessionStart, cold':<28} {milliseconds(first)}")
    print(f"{'the first prompt, cold':<28} {milliseconds(prompt)}", flush=True)
    session = Session(folder, server)
    session.start()
    try:
        _rows(session, "", RUNS)
        os.kill(session.sidecar, signal.SIGSTOP)
        _rows(session, ", hanging", RUNS // 5)
    finally:
        os.kill(session.sidecar, signal.SIGKILL)
    print(f"times of python alone: {statistics.median(first) / statistics.median(bare):.1f} for SessionStart, cold")


def _rows(session: Session, how: str, runs: int) -> None:
    for event, fields in {"SessionStart": {"source": "compact"}, **EVENTS}.items():
        took = timed(lambda event=event, fields=fields: session.hook(event, **fields), runs)  # type: ignore[misc]
        print(f"{event + how:<28} {milliseconds(took)}", flush=True)


if __name__ == "__main__":
    main([])
