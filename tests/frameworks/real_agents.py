"""The real Claude Code and Codex, from their wheels, with our plugin installed, against the stub model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support.coding_agent import until
from tracecraft_core import coding_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.stub_model import Request, StubModel

PLUGIN: Final = Path(__file__).parents[2] / "cli" / "tracecraft_cli" / "plugin"
INHERITED: Final = ("PATH", "LANG", "TRACECRAFT_SERVER", "TRACECRAFT_PROJECT", "TRACECRAFT_SPOOL")


def claude_binary() -> str:
    """The program in the wheel of claude-agent-sdk."""
    found = find_spec("claude_agent_sdk")
    if found is None or found.origin is None:
        pytest.skip("claude-agent-sdk, whose wheel has the program, is not installed here")
    return str(Path(found.origin).parent / "_bundled" / "claude")


def codex_binary() -> str:
    """The program in the wheel beside openai-codex."""
    found = find_spec("codex_cli_bin")
    if found is None or found.origin is None:
        pytest.skip("openai-codex, which brings the program, is not installed here")
    return str(Path(found.origin).parent / "bin" / "codex")


class RealAgent:
    """One installation of a coding agent; ``agent("do it")`` runs it to its end."""

    def __init__(self, home: Path, model: StubModel, **more: str) -> None:
        self.home, self.model = home, model
        self.work = home / "work"
        for folder in (self.work, home / "codex", home / "bin"):
            folder.mkdir(parents=True)
        for program, module in (("tracecraft", "tracecraft_cli"), ("tracecraft-hook", "tracecraft_cli.hook")):
            shim = home / "bin" / program
            shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m {module} "$@"\n')
            shim.chmod(0o755)
        subprocess.run(["git", "init", "-q", str(self.work)], check=True)
        self.env = {name: os.environ[name] for name in INHERITED if name in os.environ} | {
            "HOME": str(home),
            "TMPDIR": str(home),
            "XDG_STATE_HOME": str(home / "state"),
            "TRACECRAFT_HOOK_DEADLINE": "15",  # what is told must not depend on how busy this machine is
            **more,
        }
        self.env["PATH"] = f"{home / 'bin'}:{self.env['PATH']}"
        self._running: list[subprocess.Popen[str]] = []
        self.install()

    def install(self) -> None:
        """Install the plugin."""
        raise NotImplementedError

    def argv(self, prompt: str) -> list[str]:
        """The command that runs one prompt without a person."""
        raise NotImplementedError

    def __call__(self, prompt: str = "go on") -> str:
        """Run one prompt; what it printed."""
        done = self.popen(prompt)
        out, err = done.communicate(timeout=120)
        assert done.returncode == 0, f"{out}\n{err}"
        self.gone()
        return out

    def popen(self, prompt: str = "go on") -> subprocess.Popen[str]:
        """Begin one prompt."""
        process = subprocess.Popen(
            self.argv(prompt),
            env=self.env,
            cwd=self.work,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._running.append(process)
        return process

    def sidecars(self) -> list[int]:
        """The sidecars of its sessions."""
        folder = self.home / "state" / "tracecraft" / "coding"
        found = [coding_session.read(str(path)) for path in folder.glob("*.json")]
        return [one.sidecar for one in found if one is not None and one.sidecar_lives()]

    def gone(self) -> None:
        """Wait until no sidecar is left."""
        until(lambda: not self.sidecars(), "the sidecar has left")

    def close(self) -> None:
        """Nothing of it survives."""
        for process in self._running:
            with process:
                process.kill()
        for pid in self.sidecars():
            os.kill(pid, signal.SIGKILL)

    def run(self, *argv: str) -> None:
        """A command of the coding agent itself."""
        done = subprocess.run(
            argv, env=self.env, cwd=self.work, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, f"{argv}: {done.stdout}\n{done.stderr}"


class ClaudeCode(RealAgent):
    """Claude Code."""

    shell, shell_argument = "Bash", "command"
    llm = ""
    """The model that it is told to use; its own choice, when it is told none."""

    def install(self) -> None:
        self.binary = claude_binary()
        self.env |= {
            "CLAUDE_CONFIG_DIR": str(self.home / "claude"),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "ANTHROPIC_BASE_URL": self.model.url,
            "ANTHROPIC_API_KEY": "stub",
        }
        self.run(self.binary, "plugin", "marketplace", "add", str(PLUGIN))
        self.run(self.binary, "plugin", "install", "tracecraft@tracecraft")

    def argv(self, prompt: str) -> list[str]:
        chosen = ["--model", self.llm] if self.llm else []
        return [self.binary, "-p", prompt, *chosen, "--allowedTools", "Bash,Write,Edit"]


class Codex(RealAgent):
    """Codex."""

    shell, shell_argument = "exec_command", "cmd"

    def install(self) -> None:
        self.binary = codex_binary()
        self.env["CODEX_HOME"] = str(self.home / "codex")
        self.run(self.binary, "plugin", "marketplace", "add", str(PLUGIN))
        self.run(self.binary, "plugin", "add", "tracecraft@tracecraft")
        self.options: dict[str, Any] = {
            "model_provider": "stub",
            "model": "gpt-4o",
            "model_providers.stub.name": "stub",
            "model_providers.stub.base_url": self.model.openai_url,
            "model_providers.stub.wire_api": "responses",
            "sandbox_mode": "workspace-write",
            "sandbox_workspace_write.network_access": True,
            "sandbox_workspace_write.writable_roots": [str(self.home)],
        }

    def argv(self, prompt: str) -> list[str]:
        chosen = [word for name, value in self.options.items() for word in ("-c", f"{name}={json.dumps(value)}")]
        return [
            self.binary,
            "exec",
            "--skip-git-repo-check",
            "--dangerously-bypass-hook-trust",
            "--json",
            *chosen,
            prompt,
        ]


def parts(request: Request) -> Iterator[tuple[str, str]]:
    """Everything that the model reads: in whose slot, and the words."""
    for name in ("system", "instructions"):
        yield "system", json.dumps(request.body.get(name) or "", ensure_ascii=False)
    for item in request.body.get("messages") or request.body.get("input") or []:
        slot = item.get("role") or item.get("type", "")
        content = item.get("content") or item.get("output") or ""
        for part in content if isinstance(content, list) else [{"type": "text", "text": content}]:
            kind = "tool_result" if part.get("type") == "tool_result" else slot
            yield kind, json.dumps(part, ensure_ascii=False)


def slots(request: Request, words: str) -> set[str]:
    """In whose slots these words stand."""
    return {slot for slot, text in parts(request) if words in text}
