"""One child process: started with a log, recorded on disk, held to be the only one of its kind, and never lost.

Three guards make sure that a server is never started twice in a folder, whatever was killed with -9 before:

- the *record*, a file with the child's pid and creation time, lets a later supervisor find and stop an orphan;
- the child (and what it forks) inherits a lock on that record, so an orphan that is not recorded is noticed too;
- on Linux the kernel stops the child when its supervisor dies (PR_SET_PDEATHSIG by ``setpriv``).
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from tracecraft_core.errors import StackError
from tracecraft_stack.files import plain_errors, write_private
from tracecraft_stack.identity import Identity, identify, myself

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import psutil

MAX_LOG_BYTES: Final = 16 * 1024 * 1024
"""A log larger than this is set aside (``.1``) before the next start."""

TAIL_LINES: Final = 15

KILL_PATIENCE_S: Final = 10.0

LOCK_PATIENCE_S: Final = 10.0
"""How long the processes that a dead child has forked may take to follow it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run: the arguments, the environment (nothing is inherited), the folder, and as whom."""

    argv: Sequence[str | Path]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    user: int | None = None
    group: int | None = None
    stop_signal: signal.Signals = signal.SIGTERM


class Record(msgspec.Struct, frozen=True):
    """What is known on disk about a child."""

    pid: int
    created: float
    owner_pid: int
    owner_created: float
    stop_signal: int

    @property
    def child(self) -> Identity:
        """The child."""
        return Identity(self.pid, self.created)

    @property
    def owner(self) -> Identity:
        """The supervisor that started it."""
        return Identity(self.owner_pid, self.owner_created)


class Child:
    """A running (or ended) child process; `spawn` makes one."""

    def __init__(self, process: subprocess.Popen[bytes], command: Command, log: Path, log_start: int) -> None:
        self._process = process
        self._command = command
        self._log, self._log_start = log, log_start

    @property
    def pid(self) -> int:
        """Process id; stays known after the end."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs; a stopped (SIGSTOP) child does."""
        return self._process.poll() is None

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        code = self._process.poll()
        if code is None:
            return "still runs"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def log_tail(self) -> str:
        """The last lines it logged since it started."""
        try:
            with self._log.open("rb") as file:
                file.seek(max(self._log_start, self._log.stat().st_size - 16384))
                return "\n".join(file.read().decode(errors="replace").splitlines()[-TAIL_LINES:])
        except OSError:
            return ""

    def stop(self, patience: float) -> None:
        """Asks it to end and waits; after ``patience`` seconds kills it."""
        self._signal(self._command.stop_signal)
        self._signal(signal.SIGCONT)
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL, and waits for the end."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def pause(self) -> None:
        """SIGSTOP to it and to what it has forked; returns when none of their threads runs any more."""
        import psutil

        family = self._family()
        for process in family:
            with suppress(psutil.NoSuchProcess):  # what it has forked may end at any moment
                process.suspend()
        deadline = time.monotonic() + KILL_PATIENCE_S
        while not all(_is_stopped(process) for process in family) and time.monotonic() < deadline:
            time.sleep(0.001)

    def resume(self) -> None:
        """SIGCONT to it and to what it has forked."""
        import psutil

        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def _signal(self, number: signal.Signals) -> None:
        if self.alive:
            self._process.send_signal(number)

    def _family(self) -> list[psutil.Process]:
        import psutil

        if not self.alive:
            return []
        parent = psutil.Process(self.pid)
        return [parent, *parent.children(recursive=True)]


def spawn(command: Command, *, log: Path, record: Path) -> Child:
    """Starts a child with its output appended to ``log`` and its identity in ``record``.

    Raises `StackError` when another child of the same record still runs, or the program cannot be run.
    """
    with plain_errors(log.parent):
        log_start = _set_aside(log)
        with log.open("ab") as output, open(record, "ab", opener=_private) as lock:
            _take(lock.fileno(), record)
            process = _popen(command, output.fileno(), lock.fileno())
            _write_record(record, process.pid, command.stop_signal, lock.fileno())
    return Child(process, command, log, log_start)


def stop_orphan(record: Path, patience: float) -> bool:
    """Stops the child that an earlier supervisor left behind; whether there was one.

    Raises `StackError` when its supervisor is alive: then it is no orphan.
    """
    known = read_record(record)
    process = known.child.process() if known else None
    if known is None or process is None:
        return False
    if known.owner.alive:
        raise StackError(f"{record.stem} already runs here (pid {known.pid}), started by pid {known.owner_pid}")
    _end(known, process, patience)
    return True


def read_record(record: Path) -> Record | None:
    """The last recorded child, running or not."""
    try:
        return msgspec.json.decode(record.read_bytes(), type=Record)
    except (OSError, msgspec.MsgspecError):
        return None


def _is_stopped(process: psutil.Process) -> bool:
    """Whether every thread has taken the SIGSTOP, each does so when it is next scheduled, or has ended."""
    import psutil

    over = (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)  # a parent that is stopped does not clear its dead away
    try:
        threads = [psutil.Process(thread.id) for thread in process.threads()] if psutil.LINUX else [process]
        return all(thread.status() in over for thread in threads)
    except psutil.NoSuchProcess:
        return not process.is_running()


def _end(known: Record, process: psutil.Process, patience: float) -> None:
    import psutil

    with suppress(psutil.NoSuchProcess):
        family = [process, *process.children(recursive=True)]
        process.send_signal(known.stop_signal)
        process.send_signal(signal.SIGCONT)
        if not known.child.await_end(patience):
            for member in family:
                with suppress(psutil.NoSuchProcess):
                    member.kill()
            known.child.await_end(KILL_PATIENCE_S)


def _take(lock: int, record: Path) -> None:
    """Locks the record; the child inherits the lock and holds it until it and all that it forked are gone."""
    deadline = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                known = read_record(record)
                pid = f"pid {known.pid} or a process it started" if known else "a process that is not recorded"
                raise StackError(f"{record.stem} still runs here: {pid} holds {record}") from None
            time.sleep(0.02)
        else:
            return


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _write_record(record: Path, pid: int, stop_signal: signal.Signals, lock: int) -> None:
    child, owner = identify(pid), myself()
    known = Record(child.pid, child.created, owner.pid, owner.created, int(stop_signal))
    os.ftruncate(lock, 0)
    os.write(lock, msgspec.json.encode(known))


def _set_aside(log: Path) -> int:
    """Size of the log at the start of this child; a large one is renamed first."""
    if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
        log.replace(log.with_name(log.name + ".1"))
    if not log.exists():
        write_private(log, "")
    return log.stat().st_size


def _popen(command: Command, output: int, lock: int) -> subprocess.Popen[bytes]:
    argv = [*_tied_to_parent(command.stop_signal), *(str(part) for part in command.argv)]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(command.env),
            cwd=command.cwd,
            user=command.user,
            group=command.group,
            extra_groups=None if command.user is None else [],
            umask=0o077,
            pass_fds=(lock,),
            start_new_session=True,  # Ctrl-C in the terminal reaches the supervisor only, which stops them in order
        )

    return _spawner(os.getpid()).submit(start).result()


@functools.cache
def _spawner(_pid: int) -> ThreadPoolExecutor:
    """The thread that starts all children of this process and lives as long as it: the kernel sends PDEATHSIG when the
    *thread* that started a child ends."""
    return ThreadPoolExecutor(1, thread_name_prefix="tracecraft-spawner")


@functools.cache
def _tied_to_parent(stop_signal: signal.Signals) -> tuple[str, ...]:
    """Prefix that makes the kernel send a child its stop signal when the supervisor dies; empty where unknown."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return ()
    prefix = (setpriv, "--pdeathsig", stop_signal.name.removeprefix("SIG"))
    works = subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode == 0
    return prefix if works else ()
