"""A stand-in for a coding agent: a process whose children are hooks and commands, as with Claude Code and Codex.

The real ones are in tests/frameworks; this one can be killed between any two hooks, and needs no model.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support.folder import short_lived_folder
from tracecraft_core import coding_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.support.cli import CommandLine
    from tracecraft_core.coding_session import CodingSession

PATIENCE_S: Final = 20.0

_PARENT: Final = """
import json, subprocess, sys
for line in sys.stdin:
    order = json.loads(line)
    children = [subprocess.Popen(order["argv"], env=order["env"], cwd=order["cwd"], text=True, stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(order["times"])]
    done = [(child.communicate(order["input"]), child.returncode) for child in children]
    print(json.dumps([{"stdout": out, "stderr": err, "code": code} for (out, err), code in done]), flush=True)
"""


class CodingAgent:
    """One process of a coding agent, with one conversation at a time."""

    def __init__(self, home: Path, work: Path, env: Mapping[str, str], *, kind: str = "claude", id_: str = "") -> None:
        self.home, self.work, self.kind = home, work, kind
        self.id = id_ or f"{secrets.token_hex(4)}-session"
        self.transcript = home / f"{'rollout-' if kind == 'codex' else ''}{self.id}.jsonl"
        self.env = dict(env)
        self._sidecars: set[int] = set()
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-c", _PARENT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self.env,
        )

    # -- its children -------------------------------------------------------------------------------------------

    def children(
        self, argv: list[str], *, input: str = "", times: int = 1, env: Mapping[str, str] | None = None
    ) -> list[dict[str, Any]]:
        """Run the same command so many times at once, as children of the coding agent."""
        order = {
            "argv": argv,
            "input": input,
            "times": times,
            "env": {**self.env, **(env or {})},
            "cwd": str(self.work),
        }
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        done: list[dict[str, Any]] = json.loads(self.process.stdout.readline())
        return done

    def cli(self, *args: str, env: Mapping[str, str] | None = None) -> dict[str, Any]:
        """A tracecraft command in the agent's shell."""
        [done] = self.children([sys.executable, "-m", "tracecraft_cli", *args], env=env)
        return done

    def hooks(
        self, event: str, times: int, *, env: Mapping[str, str] | None = None, **fields: Any
    ) -> list[dict[str, Any]]:
        """Several hooks of one event at once; each exits with 0 and says nothing on stderr, whatever happens."""
        done = self.children(
            [sys.executable, "-P", "-m", "tracecraft_cli.hook"],
            input=self.payload(event, **fields),
            times=times,
            env=env,
        )
        if (state := self.state()) is not None and state.sidecar:
            self._sidecars.add(state.sidecar)
        for one in done:
            assert (one["code"], one["stderr"]) == (0, ""), one
        return [json.loads(one["stdout"]) for one in done]

    def hook(self, event: str, *, env: Mapping[str, str] | None = None, **fields: Any) -> dict[str, Any]:
        """What the agent is answered at an event."""
        return self.hooks(event, 1, env=env, **fields)[0]

    def payload(self, event: str, **fields: Any) -> str:
        """What a coding agent says to its hook."""
        common = {"session_id": self.id, "transcript_path": str(self.transcript), "cwd": str(self.work)}
        return json.dumps({**common, "hook_event_name": event, **fields})

    def context(self, event: str, **fields: Any) -> str:
        """What is added to the model's context at an event."""
        said: str = self.hook(event, **fields).get("hookSpecificOutput", {}).get("additionalContext", "")
        return said

    # -- a conversation -----------------------------------------------------------------------------------------

    def start(self, source: str = "startup") -> str:
        """Begin a conversation with its first prompt; what the model is told."""
        return self.context("SessionStart", source=source) + self.context("UserPromptSubmit", prompt="go on")

    def tool(self, **fields: Any) -> str:
        """A tool call has ended; what the model is told."""
        return self.context("PostToolUse", tool_name="Bash", tool_input={"command": "ls"}, tool_response="", **fields)

    def edit(self, path: str) -> str:
        """Why an edit is denied; empty when it is not."""
        answer = self.hook("PreToolUse", tool_name="Write", tool_input={"file_path": path, "content": "x"})
        said = answer.get("hookSpecificOutput", {})
        return str(said["permissionDecisionReason"]) if said.get("permissionDecision") == "deny" else ""

    def stop(self, *, again: bool = False) -> str:
        """What is to be done before the agent may stop."""
        return str(self.hook("Stop", stop_hook_active=again).get("reason", ""))

    # -- its sidecar --------------------------------------------------------------------------------------------

    def state(self) -> CodingSession | None:
        """What the sidecar has written."""
        with pytest.MonkeyPatch.context() as patch:
            for name in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR", "TMPDIR"):
                if name in self.env:
                    patch.setenv(name, self.env[name])
            return coding_session.named(coding_session.name(self.kind, self.id))

    @property
    def sidecar(self) -> int:
        """Its pid."""
        state = self.state()
        assert state is not None
        self._sidecars.add(state.sidecar)
        return state.sidecar

    @property
    def name(self) -> str:
        """The agent's name."""
        state = self.state()
        assert state is not None
        return state.agent

    def end(self) -> None:
        """A clean end."""
        self.hook("SessionEnd", reason="other")
        self.kill()

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        with self.process:
            pass

    def gone(self) -> None:
        """Wait until no sidecar of this agent is left."""
        until(lambda: not any(alive(pid) for pid in self._sidecars), "the sidecar ends")

    def close(self) -> None:
        """Nothing of it survives."""
        with contextlib.suppress(AssertionError):
            _ = self.sidecar
        self.kill()
        for pid in self._sidecars:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class CodingAgents:
    """Makes coding agents of one home; ``coding_agents("w1")`` works in a folder of that name."""

    def __init__(self, home: Path, cli: CommandLine) -> None:
        self.home = home
        self.env = {
            **{name: value for name, value in cli.environment().items() if not name.startswith(("CLAUDE", "CODEX"))},
            "HOME": str(home),
            "XDG_STATE_HOME": str(home / "state"),
            "TMPDIR": str(home),
            "TRACECRAFT_HOOK_DEADLINE": "15",  # what is told must not depend on how busy this machine is
        }
        self._made: list[CodingAgent] = []

    def __call__(
        self, work: str = "work", *, kind: str = "claude", id_: str = "", env: Mapping[str, str] | None = None
    ) -> CodingAgent:
        """A coding agent that runs, without a conversation yet."""
        folder = self.home / work
        (folder / ".git").mkdir(parents=True, exist_ok=True)
        own = {"CLAUDE_CODE_SESSION_ID": id_} if kind == "claude" and id_ else {}
        agent = CodingAgent(self.home, folder, {**self.env, **own, **(env or {})}, kind=kind, id_=id_)
        self._made.append(agent)
        return agent

    def close(self) -> None:
        """Nothing survives."""
        for agent in self._made:
            agent.close()


@pytest.fixture
def coding_agents(cli: CommandLine) -> Iterator[CodingAgents]:
    """Coding agents on the session's server, in a project of this test."""
    with short_lived_folder() as home:
        made = CodingAgents(home, cli)
        yield made
        made.close()


def alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(holds: Callable[[], Any], what: str) -> Any:
    """Wait until something holds; what it returned."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := holds()):
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.02)
    return found
