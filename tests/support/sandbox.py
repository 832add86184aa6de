"""Sandboxes without network, of the kernel's own making, and relays outside of them."""

from __future__ import annotations

import functools
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

from tests.support.cli import CommandLine
from tracecraft_cli.relay import papers
from tracecraft_cli.relay.papers import Request
from tracecraft_cli.relay.placed import beat, read_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tracecraft_cli.relay.papers import Answer
    from tracecraft_stack.nats_server import NatsServer

HOMELESS: Final = "/proc/nobody"
"""A home that nobody can write, not even root: as the one of a sandbox is."""
AGENT: Final = "boxed"


class Relay:
    """A relay in a process of its own."""

    def __init__(self, sandbox: Sandbox, *args: str) -> None:
        self._sandbox = sandbox
        self.process = subprocess.Popen(
            sandbox.outside.argv("relay", str(sandbox.workspace), *args),
            cwd=sandbox.workspace,
            env=sandbox.outside.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        sandbox.relays.append(self)
        sandbox.until(lambda: self._beats() or self.process.poll() is not None)
        assert self.process.poll() is None, self.process.communicate()

    def _beats(self) -> bool:
        found = beat(self._sandbox.folder)
        return found is not None and found.pid == self.process.pid

    def kill(self) -> None:
        """SIGKILL; what it runs is ended by its guard."""
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """SIGSTOP."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> str:
        """End it as Ctrl-C does; what it said."""
        self.process.send_signal(signal.SIGINT)
        _, said = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, said
        return said


class Sandbox:
    """Runs ``tracecraft`` in a workspace, with no network and no home."""

    def __init__(self, outside: CommandLine, workspace: Path, prefix: tuple[str, ...]) -> None:
        self.outside, self.workspace = outside, workspace
        self.folder = workspace / ".tracecraft" / "relay"
        self._prefix = prefix
        self._running: list[subprocess.Popen[str]] = []
        self.relays: list[Relay] = []

    def relay(self, *args: str) -> Relay:
        """Start a relay outside, and wait until it lives."""
        return Relay(self, *args)

    def __call__(
        self, *args: str, agent: str = AGENT, input: str | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs one command to its end."""
        return self.python("-m", "tracecraft_cli", *args, agent=agent, input=input, env=env)

    def python(
        self, *args: str, agent: str = AGENT, input: str | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs Python inside."""
        return subprocess.run(
            [*self._prefix, sys.executable, *args],
            cwd=self.workspace,
            env=self._environment(agent, env),
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def popen(self, *args: str, agent: str = AGENT) -> subprocess.Popen[str]:
        """Starts one command; it is killed at the end of the test."""
        process = subprocess.Popen(
            [*self._prefix, sys.executable, "-m", "tracecraft_cli", *args],
            cwd=self.workspace,
            env=self._environment(agent, None),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._running.append(process)
        return process

    def _environment(self, agent: str, env: Mapping[str, str] | None) -> dict[str, str]:
        inside = {"HOME": HOMELESS, "TRACECRAFT_AGENT": agent, "TRACECRAFT_PROJECT": self.outside.project}
        return {**os.environ, **inside, "COLUMNS": "120", **(env or {})}

    # -- the folder ----------------------------------------------------------------------------------------------

    def waiting(self) -> list[str]:
        """Ids of requests that lie there."""
        place = self.folder / papers.REQUESTS
        return sorted(path.name for path in place.iterdir()) if place.exists() else []

    def taken(self) -> list[str]:
        """Ids of requests that a relay has taken."""
        return sorted(path.name for path in (self.folder / papers.TAKEN).iterdir())

    def forge(self, **fields: Any) -> str:
        """Put a request there by hand, as nothing of ours would; returns its id."""
        id_ = fields.pop("id", None) or papers.new_id()
        request = {"id": id_, "agent": AGENT, "wait": False, "time": time.time(), **fields}
        self.place(id_, json.dumps(request).encode())
        return str(id_)

    def place(self, id_: str, content: bytes) -> Path:
        """Put any content where a request belongs."""
        new = self.folder / papers.REQUESTS / f".{id_}"
        new.mkdir(parents=True)
        (new / papers.REQUEST).write_bytes(content)
        return new.rename(new.with_name(id_))

    def answer(self, id_: str) -> Answer:
        """The receipt, when it is there."""
        self.until(lambda: self._receipt(id_) is not None)
        found = self._receipt(id_)
        assert found is not None
        return found

    def _receipt(self, id_: str) -> Answer | None:
        return read_answer(self.folder / papers.ANSWERS / f"{id_}{papers.RECEIPT}")

    def status(self) -> dict[str, dict[str, Any]]:
        """What ``relay --status`` says inside, by request."""
        done = self("relay", "--status", "--json")
        assert done.returncode == 0, done.stderr
        return {one["request"]: one for one in json.loads(done.stdout)["result"]["requests"]}

    def value(self, key: str) -> Any:
        """A memory value, as those outside see it."""
        done = self.outside("memory", "get", key, "--json", "--default", "null")
        return json.loads(done.stdout)["result"]["value"]

    @staticmethod
    def until(condition: Callable[[], object]) -> None:
        """Wait for what another process does."""
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, "it did not happen"
            time.sleep(0.01)

    def close(self) -> None:
        """Nothing survives."""
        for process in [*self._running, *(relay.process for relay in self.relays)]:
            with process:
                process.send_signal(signal.SIGCONT)
                process.kill()


@functools.cache
def namespace() -> tuple[str, ...] | None:
    """What runs a program in a network namespace of its own; ``None`` where that is not permitted."""
    for prefix in (("unshare", "--net"), ("unshare", "--net", "--map-root-user")):
        try:
            done = subprocess.run([*prefix, "true"], capture_output=True, check=False)
        except OSError:
            return None
        if done.returncode == 0:
            return prefix
    return None


def refusing() -> tuple[str, ...]:
    """What runs a program that the kernel refuses every connection, as Codex does."""
    return (sys.executable, str(Path(__file__).with_name("no_connect.py")))


@pytest.fixture
def outside(nats: NatsServer, project: str) -> Iterator[CommandLine]:
    """The command line outside of the sandbox."""
    runner = CommandLine(nats.url, project)
    yield runner
    runner.close()


@pytest.fixture
def sandbox(outside: CommandLine, tmp_path: Path) -> Iterator[Sandbox]:
    """A workspace in which no network is to be had; skips where the kernel does not make one."""
    prefix = namespace()
    if prefix is None:
        pytest.skip("this machine permits no network namespaces")
    workspace = tmp_path / f"workspace-{secrets.token_hex(2)}"
    (workspace / ".git").mkdir(parents=True)
    (workspace / ".git" / "HEAD").write_text("ref: refs/heads/main\n", encoding="utf-8")
    box = Sandbox(outside, workspace, prefix)
    yield box
    box.close()


def request(*command: str, **fields: Any) -> Request:
    """A request that nobody sends."""
    given: dict[str, Any] = {"id": papers.new_id(), "agent": AGENT, "wait": True, "time": 1.0, **fields}
    return Request(command=list(command), **given)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file outside of the workspace."""
    path = tmp_path / "secret.yaml"
    path.write_text("tasks: [{id: SECRET}]", encoding="utf-8")
    return path
