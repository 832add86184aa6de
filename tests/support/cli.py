"""The command line as its users have it: a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tracecraft_stack.nats_server import NatsServer


class CommandLine:
    """Runs ``tracecraft`` against a server and a project; ``cli("memory", "set", "k", "v", agent="a")``."""

    def __init__(self, server: str, project: str) -> None:
        self.server, self.project = server, project
        self._running: list[subprocess.Popen[str]] = []

    def __call__(
        self,
        *args: str,
        agent: str | None = None,
        project: str | None = None,
        env: Mapping[str, str] | None = None,
        input: str | None = None,
        timeout: float = 30,
    ) -> subprocess.CompletedProcess[str]:
        """Runs one command to its end; stdout and stderr are apart, the exit code is not checked."""
        return subprocess.run(
            self.argv(*args),
            env=self.environment(agent, project, env),
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def popen(
        self,
        *args: str,
        agent: str | None = None,
        project: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Starts one command with pipes on stdin, stdout and stderr; it is killed at the end of the test."""
        process = subprocess.Popen(
            self.argv(*args),
            env=self.environment(agent, project, env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._running.append(process)
        return process

    @staticmethod
    def argv(*args: str) -> list[str]:
        """The arguments of the process."""
        return [sys.executable, "-m", "tracecraft_cli", *args]

    def environment(
        self, agent: str | None = None, project: str | None = None, env: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """The environment of the process: this server and project, the agent if one is named, then ``env``."""
        own = {"TRACECRAFT_SERVER": self.server, "TRACECRAFT_PROJECT": project or self.project, "COLUMNS": "120"}
        named = {"TRACECRAFT_AGENT": agent} if agent else {}
        return {**os.environ, **own, **named, **(env or {})}

    def close(self) -> None:
        """Kills what `popen` has started and still runs."""
        for process in self._running:
            with process:
                process.kill()


@pytest.fixture
def cli(nats: NatsServer, project: str) -> Iterator[CommandLine]:
    """The command line on the session's server, in a project of this test."""
    runner = CommandLine(nats.url, project)
    yield runner
    runner.close()
