"""``complete --verify``: we run the check ourselves, and keep evidence of how it ended."""

from __future__ import annotations

import hashlib
import sys
import time
from typing import TYPE_CHECKING

from tracecraft_cli import git_facts
from tracecraft_cli.process import Program
from tracecraft_core.bodies import Verification
from tracecraft_core.errors import TracecraftError

if TYPE_CHECKING:
    from collections.abc import Callable


class VerificationFailed(TracecraftError):
    """The check did not pass; nothing was written. Attributes: ``command``, ``exit_code_of_command``, ``output``."""

    def __init__(self, task: str, command: str, code: int, output: str) -> None:
        super().__init__(f"{task} is not completed: {command!r} exited with {code}")
        self.task, self.command, self.exit_code_of_command, self.output = task, command, code, output


class Check:
    """A shell line that runs; `wait` gives the evidence, `stop` ends it early. Its output goes to standard error."""

    def __init__(self, command: str) -> None:
        self._command = command
        self._digest = hashlib.sha256()
        self._commit = git_facts.commit()
        self._began = time.monotonic()
        self._program = Program(command, on_output=self._hear)
        self.stop: Callable[[], None] = self._program.stop

    def _hear(self, piece: bytes) -> None:
        self._digest.update(piece)
        sys.stderr.buffer.write(piece)
        sys.stderr.buffer.flush()

    @property
    def output(self) -> str:
        """The end of what it wrote."""
        return self._program.tail

    def wait(self) -> Verification:
        """Wait for its end."""
        code = self._program.wait()
        return Verification(
            command=self._command,
            exit_code=code,
            output_sha256=self._digest.hexdigest(),
            seconds=round(time.monotonic() - self._began, 3),
            git_head=self._commit.head if self._commit else None,
            git_dirty=self._commit.dirty if self._commit else None,
        )
