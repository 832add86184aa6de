"""Which process is which: a pid together with the time the process was created, because pids are used again."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tracecraft_core import extras
from tracecraft_core.errors import StackError

if TYPE_CHECKING:
    import psutil

CLOCK_SLACK_S: Final = 2.0
"""A creation time is derived from the wall clock, which may be adjusted while the process runs."""

POLL_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class Identity:
    """A process that cannot be mistaken for a later one with the same pid."""

    pid: int
    created: float
    """Seconds since the epoch, as psutil tells."""

    def process(self) -> psutil.Process | None:
        """The live process, or ``None`` when it is gone, a zombie, or the pid belongs to another process now."""
        import psutil

        try:
            found = psutil.Process(self.pid)
            same = abs(found.create_time() - self.created) <= CLOCK_SLACK_S
            return found if same and found.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None

    @property
    def name(self) -> str:
        """Name of its program. Raises `StackError` when it is gone."""
        import psutil

        try:
            return psutil.Process(self.pid).name()
        except psutil.Error as error:
            raise StackError(f"process {self.pid} is gone") from error

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process() is not None

    def await_end(self, patience: float) -> bool:
        """Waits up to ``patience`` seconds for the end; whether it came. A zombie has ended: init may never reap it."""
        deadline = time.monotonic() + patience
        while self.alive:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        return True


def identify(pid: int) -> Identity:
    """The identity of a process that runs now.

    Raises `StackError` when there is none, or when psutil is not installed.
    """
    try:
        import psutil
    except ImportError as error:
        raise StackError(f"psutil is missing: {extras.install('local')}") from error
    try:
        return Identity(pid, psutil.Process(pid).create_time())
    except psutil.Error as error:
        raise StackError(f"process {pid} is gone") from error


def myself() -> Identity:
    """The identity of this process."""
    return identify(os.getpid())
