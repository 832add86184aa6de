"""PostgreSQL on loopback: initialised once, in full or not at all, and ready when the postmaster says so."""

from __future__ import annotations

import shutil
import signal
import subprocess
from typing import TYPE_CHECKING, Final

from tracecraft_core.errors import StackError
from tracecraft_stack import account, binaries
from tracecraft_stack.child import Command
from tracecraft_stack.environment import bare_environment
from tracecraft_stack.files import write_private
from tracecraft_stack.ports import LOOPBACK, free_port
from tracecraft_stack.server import Server

if TYPE_CHECKING:
    from pathlib import Path

ROLE: Final = "tracecraft"
DATABASE: Final = "tracecraft"


class PostgresServer(Server):
    """One PostgreSQL. Run by root, its processes belong to another account (see `tracecraft_stack.account`).

    Args:
        folder: holds the cluster.
        password: of the role ``tracecraft``, its superuser; set when the cluster is initialised.
        port: 0 takes a free one, which it keeps over restarts.
        fsync: ``False`` for a cluster to throw away: what is committed survives a kill, not a crash of the machine.
    """

    name = "postgres"
    stop_patience = 30.0  # the checkpoint at shutdown waits for the disk

    def __init__(
        self,
        folder: Path,
        *,
        password: str,
        port: int = 0,
        fsync: bool = True,
        log: Path | None = None,
        record: Path | None = None,
    ) -> None:
        super().__init__(folder, log=log, record=record)
        self.port = port or free_port()
        self.password = password
        self.fsync = fsync
        self._account = account.other_account()
        self.folder_mode = 0o700 if self._account is None else 0o711

    @property
    def dsn(self) -> str:
        """libpq URL with the password: do not log it."""
        return f"postgresql://{ROLE}:{self.password}@{LOOPBACK}:{self.port}/{DATABASE}"

    @property
    def cluster(self) -> Path:
        """PostgreSQL's own data folder."""
        return self.folder / "cluster"

    def prepare(self) -> None:
        """Initialises the cluster the first time, and clears away a postmaster.pid that would mislead the server."""
        if self._account is not None:
            opened = [*account.open_way(self.cluster, self._account), *account.open_way(self._program(), self._account)]
            self.notices += [f"{path} may now be passed by all users, for PostgreSQL's sake" for path in opened]
        if not self.cluster.exists():
            self._initialise()
        self._forget_reused_pid()

    def command(self) -> Command:
        """``postgres`` itself, not pg_ctl: it is our child."""
        settings = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",  # their paths may have 107 bytes at most
            "fsync": "on" if self.fsync else "off",
            "full_page_writes": "on" if self.fsync else "off",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return self._as_account(self._program(), "-D", self.cluster, *options)

    def is_ready(self) -> bool:
        """postmaster.pid has the pid of our child and, in its eighth line, the word ready (as pg_ctl does it)."""
        lines = self._postmaster_file()
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7] == "ready" if self.alive else False

    def listens_on(self) -> tuple[int, ...]:
        """The one port."""
        return (self.port,)

    def _program(self) -> Path:
        return binaries.postgres()

    def _as_account(self, *argv: str | Path) -> Command:
        user, group = (self._account.uid, self._account.gid) if self._account else (None, None)
        return Command(
            argv=argv,
            env=bare_environment(self.folder),
            cwd=self.folder,
            user=user,
            group=group,
            stop_signal=signal.SIGINT,  # "fast": sessions are ended, everything is written
        )

    def _initialise(self) -> None:
        """Builds the cluster beside its place and moves it there whole: a crash in between leaves nothing half done."""
        draft, secret = self.folder / "cluster.new", self.folder / "password.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        write_private(secret, self.password)
        for path in (draft, secret):
            account.give(path, self._account)
        initdb = self._program().with_name("initdb")
        try:
            self._run(
                *(initdb, "-D", draft, "-U", ROLE, f"--pwfile={secret}", "--auth=scram-sha-256"),
                *("--encoding=UTF8", "--locale=C", "--no-sync"),
            )
            create = f"CREATE DATABASE {DATABASE};\n"
            self._run(self._program(), "--single", "-D", draft, "-c", "fsync=off", "postgres", stdin=create)
            if self.fsync:
                self._run(initdb, "-D", draft, "--sync-only")
        finally:
            secret.unlink(missing_ok=True)
        draft.rename(self.cluster)

    def _run(self, *argv: str | Path, stdin: str = "") -> None:
        command = self._as_account(*argv)
        done = subprocess.run(
            [str(part) for part in argv],
            input=stdin,
            env=dict(command.env),
            cwd=command.cwd,
            user=command.user,
            group=command.group,
            extra_groups=None if command.user is None else [],
            umask=0o077,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise StackError(f"postgres: {argv[0]} failed with exit code {done.returncode}:\n{done.stdout[-2000:]}")

    def _forget_reused_pid(self) -> None:
        """After a kill -9 the pid in postmaster.pid may be another program's by now, and PostgreSQL would not start."""
        import psutil

        lines = self._postmaster_file()
        if not lines or not lines[0].isdigit():
            return
        try:
            other = psutil.Process(int(lines[0])).name()
        except psutil.Error:
            return
        if other != "postgres":
            (self.cluster / "postmaster.pid").unlink(missing_ok=True)

    def _postmaster_file(self) -> list[str]:
        try:
            return [line.strip() for line in (self.cluster / "postmaster.pid").read_text().splitlines()]
        except OSError:
            return []
