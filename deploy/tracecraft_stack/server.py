"""What all servers of the stack have in common: start until ready, stop, restart, and the means to hurt them."""

from __future__ import annotations

import http.client
import threading
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Final, Self

from tracecraft_core.errors import StackError
from tracecraft_stack import child
from tracecraft_stack.files import make_folder, plain_errors
from tracecraft_stack.ports import LOOPBACK, holder, is_free, listens

if TYPE_CHECKING:
    from pathlib import Path

POLL_S: Final = 0.01
"""How often a starting server is asked whether it is ready."""


class Server(ABC):
    """A server that runs as a child process. As a context manager it is started and always stopped.

    Args:
        folder: where it keeps its data.
        log: where its output goes; default ``<folder>/<name>.log``.
        record: where its pid is kept; default ``<folder>/<name>.json``.
    """

    name: ClassVar[str]
    start_patience: float = 60.0
    """Seconds to become ready in; recovery after a crash counts."""
    stop_patience: float = 10.0
    """Seconds to stop in before it is killed."""
    folder_mode: int = 0o700
    """Of the folder it keeps its data in."""

    def __init__(self, folder: Path, *, log: Path | None = None, record: Path | None = None) -> None:
        self.folder = folder
        self.log = log or folder / f"{self.name}.log"
        self.record = record or folder / f"{self.name}.json"
        self.wanted = False
        """Started and not stopped since: a supervisor brings it back when it dies."""
        self.notices: list[str] = []
        """What the last start had to change on this machine, in words."""
        self._child: child.Child | None = None
        self._change = threading.RLock()

    @abstractmethod
    def prepare(self) -> None:
        """Writes what the server needs before it starts: configuration, initial data."""

    @abstractmethod
    def command(self) -> child.Command:
        """What to run."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it answers. Only asked while the process runs."""

    @abstractmethod
    def listens_on(self) -> tuple[int, ...]:
        """The ports it needs."""

    @property
    def pid(self) -> int:
        """Process id of the running server. Raises `StackError` when it does not run."""
        if self._child is None or not self._child.alive:
            raise StackError(f"{self.name} does not run")
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs, ready or not."""
        return self._child is not None and self._child.alive

    @property
    def ending(self) -> str:
        """How the last process ended, in words."""
        return "never started" if self._child is None else self._child.ending

    def ailment(self) -> str:
        """What is wrong with the running server that only a restart cures, in words; empty when nothing is known."""
        return ""

    @property
    def died(self) -> bool:
        """Whether it ended although it is wanted, and nobody is starting or stopping it now."""
        if not self._change.acquire(blocking=False):
            return False
        try:
            return self.wanted and not self.alive
        finally:
            self._change.release()

    def start(self, cancel: threading.Event | None = None) -> float:
        """Starts it and waits until it is ready; the seconds that took. Does nothing when it runs.

        Args:
            cancel: gives up when set.

        Raises `StackError` with the last lines of the log when it does not get ready.
        """
        with self._change:
            self.wanted = True
            if self.alive:
                return 0.0
            began = time.monotonic()
            self._launch()
            try:
                self._await_ready(cancel or threading.Event())
            except BaseException:
                self._end()
                raise
            return time.monotonic() - began

    def stop(self) -> None:
        """Stops it gracefully, kills it after `stop_patience`, and returns when it is gone."""
        self.wanted = False
        with self._change:
            self.wanted = False
            self._end()

    def restart(self) -> float:
        """Stops and starts it on the same ports and data; the seconds that took."""
        with self._change:
            began = time.monotonic()
            self.stop()
            self.start()
            return time.monotonic() - began

    def end_for_restart(self) -> None:
        """Ends the process gracefully and leaves it wanted, so that a supervisor brings it back."""
        with self._change:
            if self.wanted:
                self._end()

    def kill(self) -> None:
        """SIGKILL. A supervisor brings it back unless told not to."""
        if self._child is not None:
            self._child.kill()

    def pause(self) -> None:
        """SIGSTOP: it keeps its connections and answers nothing."""
        if self._child is not None:
            self._child.pause()

    def resume(self) -> None:
        """SIGCONT."""
        if self._child is not None:
            self._child.resume()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _end(self) -> None:
        if self._child is not None:
            self._child.stop(self.stop_patience)

    def _launch(self) -> None:
        self.notices = []
        make_folder(self.folder, self.folder_mode)
        child.stop_orphan(self.record, self.stop_patience)
        self._require_ports()
        with plain_errors(self.folder):
            self.prepare()
            self._child = child.spawn(self.command(), log=self.log, record=self.record)

    def _require_ports(self) -> None:
        for port in self.listens_on():
            if not is_free(port):
                raise StackError(f"{self.name} cannot start: port {port} is taken by {holder(port)}")

    def _await_ready(self, cancel: threading.Event) -> None:
        deadline = time.monotonic() + self.start_patience
        while not (self.is_ready() and self._is_ours()):
            if not self.alive:
                raise self._failure(f"ended while starting ({self.ending})")
            if time.monotonic() > deadline:
                raise self._failure(f"was not ready after {self.start_patience:.0f} s")
            if cancel.wait(POLL_S):
                raise StackError(f"{self.name} was stopped while starting")

    def _is_ours(self) -> bool:
        """Whether our child answered: of two stacks that start at once one may take the other's port before its use."""
        return self.alive and listens(self.pid, self.listens_on())

    def _failure(self, what: str) -> StackError:
        tail = self._child.log_tail() if self._child is not None else ""
        return StackError(f"{self.name} {what}; the end of {self.log}:\n{tail or '(empty)'}")


def http_status(port: int, path: str, timeout: float = 1.0) -> int:
    """Status of a GET on a loopback port; 0 when nobody answers."""
    return http_get(port, path, timeout)[0]


def http_get(port: int, path: str, timeout: float = 1.0) -> tuple[int, bytes]:
    """Status and body of a GET on a loopback port; 0 when nobody answers."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()
