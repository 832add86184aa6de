"""`Child`: one command of a sandbox, run outside as a process of its own, its output bounded.

It has the relay's settings, nothing of the workspace's, and works in a folder of the relay's. When the relay dies, it
is ended too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Final

from tracecraft_cli.process import Program

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

MAX_OUTPUT: Final = 8 * 1024 * 1024
"""Most bytes that are kept of each output."""
SPARED: Final = 16 * 1024
"""Bytes that an output gives back on a full disk."""
MAX_REST: Final = 64 * 1024
"""Most bytes of an output that are remembered when the disk has no room for them."""

_ENTER: Final = 'cd "$1" && exec <"$2" && shift 2 && exec "$@"'


class Child:
    """A running command; its outputs go into two open files, which are closed at its end.

    ``most_rest``: the bytes of an output that are remembered when the disk is full; what is more is cut.
    """

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        stdin: Path | None,
        out: int,
        err: int,
        most_rest: int = 0,
    ) -> None:
        self.truncated = False
        self._most_rest = most_rest
        self._files = (out, err)
        self._left = {out: MAX_OUTPUT, err: MAX_OUTPUT}
        self._rest = {out: b"", err: b""}
        self._ended = threading.Event()
        words = ["/bin/sh", "-c", _ENTER, "tracecraft-relay", str(cwd), str(stdin or os.devnull)]
        command = [*words, sys.executable, "-m", "tracecraft_cli", *argv]
        self._program = Program(
            command, env, on_stdout=lambda piece: self._keep(out, piece), on_stderr=lambda piece: self._keep(err, piece)
        )

    def wait(self) -> int:
        """Its exit code, when it has ended; blocks."""
        code = self._program.wait()
        self._ended.set()
        for file in self._files:
            os.close(file)
        return code

    def rest(self) -> tuple[bytes, bytes]:
        """Of each output the end for which there was no room, when it has ended."""
        out, err = self._files
        return self._rest[out], self._rest[err]

    def stop(self) -> None:
        """End it; blocks for as long as it takes."""
        if not self._ended.is_set():
            self._program.stop()

    def kill(self) -> None:
        """End it at once."""
        if not self._ended.is_set():
            self._program.signal(signal.SIGKILL)

    def _keep(self, file: int, piece: bytes) -> None:
        kept = piece[: self._left[file]]
        self._left[file] -= len(kept)
        if len(kept) < len(piece):
            self.truncated = True
        try:
            while kept and not self._rest[file] and not self._ended.is_set():
                kept = kept[os.write(file, kept) :]
        except OSError:  # no room in the workspace: perhaps there is some when it ends
            pass
        if not self._ended.is_set():
            self._remember(file, kept)

    def _remember(self, file: int, piece: bytes) -> None:
        self._rest[file] += piece
        if len(self._rest[file]) > self._most_rest:
            self.truncated, self._left[file], self._rest[file] = True, 0, b""
            with contextlib.suppress(OSError):  # what is left of the workspace is for the answer
                os.ftruncate(file, max(0, os.fstat(file).st_size - SPARED))
