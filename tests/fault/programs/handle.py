"""A program under test: a process that is spoken to in lines of JSON, stopped, continued and killed by its handle."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]


class Program:
    """``with Program("holder", url, project, "alice") as holder``; it is killed when the block ends."""

    def __init__(self, name: str, server: str, project: str, agent: str, *args: object) -> None:
        environment = {
            **os.environ,
            "TRACECRAFT_SERVER": server,
            "TRACECRAFT_PROJECT": project,
            "TRACECRAFT_AGENT": agent,
        }
        self.name, self.agent = name, agent
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-m", f"tests.fault.programs.{name}", *map(str, args)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(json.loads(line))
        self._lines.put(None)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            try:
                pipe.close()
            except OSError:
                continue  # what we would still say has no reader

    @property
    def pid(self) -> int:
        """Its process id, which is also its process group."""
        return self._process.pid

    def hear(self, event: str, timeout: float = 30) -> dict[str, Any]:
        """The next line, which must be this event."""
        line = self.next(timeout)
        assert line is not None, f"{self.name} ended before it said {event!r}: {self.ending()}"
        assert line["event"] == event, f"{self.name} said {line}, not {event!r}"
        return line

    def next(self, timeout: float = 30) -> dict[str, Any] | None:
        """The next line; ``None`` when the program has ended."""
        try:
            return self._lines.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError(f"{self.name} {self.agent} said nothing for {timeout} s") from None

    def heard(self) -> list[dict[str, Any]]:
        """What it has said and nobody has listened to yet."""
        found = []
        while not self._lines.empty():
            line = self._lines.get()
            if line is not None:
                found.append(line)
        return found

    def rest(self, timeout: float = 60) -> list[dict[str, Any]]:
        """Everything it still says until it ends, which must be well."""
        deadline, lines = time.monotonic() + timeout, []
        while (line := self.next(max(0.1, deadline - time.monotonic()))) is not None:
            lines.append(line)
        assert self._process.wait(10) == 0, self.ending()
        return lines

    def say(self, word: str) -> None:
        """Give it a line to read."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()

    def ask(self, word: str) -> dict[str, Any]:
        """Give it a word and hear what came of it."""
        self.say(word)
        return self.hear(word)

    def kill(self) -> None:
        """SIGKILL to it and what it has forked."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """SIGSTOP."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def ending(self) -> str:
        """How it ended, with what it wrote to stderr."""
        code = self._process.wait(10)
        assert self._process.stderr is not None
        return f"exit code {code}: {self._process.stderr.read()}"

    def _signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None or number is signal.SIGKILL:
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:
                return
