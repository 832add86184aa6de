"""The real Claude Code and Codex, out of their wheels, each in a home of its own with tracecraft's plugin."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import tracecraft_cli

PLUGIN = Path(tracecraft_cli.__file__).parent / "plugin"
PROGRAMS = {"claude_agent_sdk": "_bundled/claude", "codex_cli_bin": "bin/codex"}
"""The packages that bring the programs, and where in them these are."""


def missing() -> list[str]:
    """Packages that are not installed here."""
    return [package for package in PROGRAMS if find_spec(package) is None]


def program(package: str) -> str:
    """The program that a package brings."""
    found = find_spec(package)
    if found is None or found.origin is None:
        raise SystemExit(f"{package} is not installed here: 'make coding-agents' makes the environment that has it")
    return str(Path(found.origin).parent / PROGRAMS[package])


class CodingAgent:
    """One coding agent: its program, its home with the plugin, and the worktree where it works."""

    title: str

    def __init__(self, name: str, folder: Path, work: Path, *, server: str, model: str) -> None:
        """``folder`` is for homes and what is temporary, ``server`` and ``model`` are addresses."""
        self.name, self.work, self.model = name, work, model
        self.home = folder / "homes" / name
        self.home.mkdir(parents=True)
        self.environment = {key: os.environ[key] for key in ("LANG", "TZ") if key in os.environ} | {
            "HOME": str(self.home),
            "TMPDIR": str(_made(folder / "tmp")),
            "XDG_RUNTIME_DIR": str(_made(folder / "run")),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "NO_PROXY": "127.0.0.1",
            "TRACECRAFT_SERVER": server,
            "TRACECRAFT_AGENT": name,
            "TRACECRAFT_HOOK_DEADLINE": "15",  # what the model is told must not depend on how busy this machine is
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.install()

    def install(self) -> None:
        """Set the agent up and install the plugin."""
        raise NotImplementedError

    def argv(self, prompt: str) -> list[str]:
        """The command that runs one prompt without a person."""
        raise NotImplementedError

    @property
    def output(self) -> Path:
        """The file with what it prints."""
        return self.home / "output"

    def start(self, prompt: str) -> None:
        """Give it something to do."""
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                self.argv(prompt),
                env=self.environment,
                cwd=self.work,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait(self, seconds: float) -> int:
        """Its exit code. Raises `subprocess.TimeoutExpired`."""
        assert self.process is not None
        return self.process.wait(seconds)

    def kill(self) -> int:
        """kill -9: it can say nothing any more. Its exit code."""
        assert self.process is not None
        self.process.kill()
        return self.process.wait()

    def close(self) -> None:
        """Leave nothing behind, however this ends."""
        if self.process is not None:
            self.kill()

    def _run(self, *argv: str) -> None:
        done = subprocess.run(argv, env=self.environment, cwd=self.work, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(argv)} ended with {done.returncode}: {done.stdout}{done.stderr}")


class ClaudeCode(CodingAgent):
    """Claude Code."""

    title = "Claude Code"
    may_use = "Read,Edit,Bash,mcp__plugin_tracecraft_tracecraft"
    """Tools that it need not ask for: nobody is there to be asked."""

    def install(self) -> None:
        """Two commands, as docs/integrations/claude-code.md has them."""
        self.program = program("claude_agent_sdk")
        self.environment |= {
            "CLAUDE_CONFIG_DIR": str(self.home / "claude"),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "ENABLE_TOOL_SEARCH": "false",  # the model sees our tools at once, and need not look for them first
            "ANTHROPIC_BASE_URL": self.model,
            "ANTHROPIC_API_KEY": "stub",
        }
        self._run(self.program, "plugin", "marketplace", "add", str(PLUGIN))
        self._run(self.program, "plugin", "install", "tracecraft@tracecraft")

    def argv(self, prompt: str) -> list[str]:
        """Without a terminal."""
        return [self.program, "-p", prompt, "--allowedTools", self.may_use]


class Codex(CodingAgent):
    """Codex."""

    title = "Codex"

    def install(self) -> None:
        """Two commands, as docs/integrations/codex.md has them."""
        self.program = program("codex_cli_bin")
        self.environment["CODEX_HOME"] = str(_made(self.home / "codex"))
        self._run(self.program, "plugin", "marketplace", "add", str(PLUGIN))
        self._run(self.program, "plugin", "add", "tracecraft@tracecraft")

    def argv(self, prompt: str) -> list[str]:
        """Without a terminal; our hooks, which a person trusts once with /hooks, are trusted for this run."""
        options = {
            "model_provider": "stub",
            "model": "gpt-4o",
            "model_providers.stub.name": "stub",
            "model_providers.stub.base_url": f"{self.model}/v1",
            "model_providers.stub.wire_api": "responses",
            "sandbox_mode": "workspace-write",
        }
        chosen = [word for name, value in options.items() for word in ("-c", f"{name}={json.dumps(value)}")]
        return [self.program, "exec", "--dangerously-bypass-hook-trust", "--json", *chosen, prompt]


def _made(folder: Path) -> Path:
    """A folder of this user alone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
