"""A program that runs on behalf of a claim: its own process group, its last words kept, stopped whole.

A guard, a shell that waits for our end, stops the group when we are killed: nobody works on under a lease that nobody
renews.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

GRACE_S: Final = 5.0
"""Seconds between SIGTERM and SIGKILL."""

TAIL_BYTES: Final = 2_000
"""How much of the end of standard error is kept."""

_GUARD: Final = 'read -r group || exit; read -r _; kill -TERM "-$group" && sleep "$1" && kill -KILL "-$group"'
"""Told the group, it reads on from a pipe that nobody writes to again: the pipe ends when we do."""


class Program:
    """A running program; standard input and output are ours, standard error passes through us.

    Args:
        argv: the program and its arguments, or one string for the shell.
        env: its environment.
        on_output: gets both outputs as they come, which then do not go to ours.
        on_stdout: gets standard output as it comes, which then does not go to ours; standard input stays ours.
        on_stderr: the same for standard error.

    Raises ``OSError`` when it cannot be started.
    """

    def __init__(
        self,
        argv: Sequence[str] | str,
        env: Mapping[str, str] | None = None,
        on_output: Callable[[bytes], None] | None = None,
        *,
        on_stdout: Callable[[bytes], None] | None = None,
        on_stderr: Callable[[bytes], None] | None = None,
    ) -> None:
        self._guard = _start_guard()  # first, so that the program is alone for no longer than it takes to write a line
        try:
            stdout = on_output is not None or on_stdout is not None
            self._process = self._start(argv, env, piped=on_output is not None, stdout=stdout)
        except OSError:
            self._guard.communicate()
            raise
        self._tail = b""
        sinks = {self._process.stdout: on_output or on_stdout, self._process.stderr: on_stderr or _to_stderr}
        self._readers = [
            threading.Thread(target=self._read, args=(pipe, sink, sink is not on_stdout), daemon=True)
            for pipe, sink in sinks.items()
            if pipe is not None
        ]
        for reader in self._readers:
            reader.start()

    def _start(
        self, argv: Sequence[str] | str, env: Mapping[str, str] | None, *, piped: bool, stdout: bool
    ) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            argv,
            shell=isinstance(argv, str),
            env=env,
            stdin=subprocess.DEVNULL if piped else None,
            stdout=subprocess.PIPE if stdout else None,
            stderr=subprocess.STDOUT if piped else subprocess.PIPE,
            start_new_session=True,
        )
        assert self._guard.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._guard.stdin.write(f"{process.pid}\n".encode())
            self._guard.stdin.flush()
        return process

    @property
    def tail(self) -> str:
        """The end of what it wrote to standard error (with ``on_output``: to both)."""
        return self._tail.decode("utf-8", "replace").strip()

    def wait(self) -> int:
        """Wait for its end and return its exit code, 128 and the number for a signal."""
        code = self._process.wait()
        for reader in self._readers:
            reader.join(0.3)  # a grandchild may keep the pipe open for longer
        with contextlib.suppress(ProcessLookupError):
            self._guard.kill()
        self._guard.communicate()
        return code if code >= 0 else 128 - code

    def signal(self, number: int) -> None:
        """Send a signal to the whole group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def stop(self, grace: float = GRACE_S) -> None:
        """SIGTERM to the group, SIGKILL to what is left of it after ``grace`` seconds; returns when it is gone."""
        deadline = time.monotonic() + grace
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        while time.monotonic() < deadline:
            self._process.poll()
            if not self._group_lives():
                return
            time.sleep(0.02)
        self.signal(signal.SIGKILL)

    def _group_lives(self) -> bool:
        try:
            os.killpg(self._process.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    def _read(self, pipe: IO[bytes], sink: Callable[[bytes], None], last_words: bool) -> None:
        while piece := os.read(pipe.fileno(), 65_536):
            if last_words:
                self._tail = (self._tail + piece)[-TAIL_BYTES:]
            sink(piece)


def _to_stderr(piece: bytes) -> None:
    with contextlib.suppress(OSError):
        sys.stderr.buffer.write(piece)
        sys.stderr.buffer.flush()


def _start_guard() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["/bin/sh", "-c", _GUARD, "tracecraft-guard", f"{GRACE_S:.0f}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
