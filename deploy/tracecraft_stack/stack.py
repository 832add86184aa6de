"""The supervisor: starts the servers together, has them watched, stops them in order."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Final, Self, TypeVar

import msgspec

from tracecraft_core.errors import StackError
from tracecraft_core.local import STATE_FILE, StackState
from tracecraft_stack.assembly import Servers, assemble
from tracecraft_stack.files import write_private
from tracecraft_stack.layout import Layout
from tracecraft_stack.lock import FolderLock
from tracecraft_stack.options import Change, StackEvent, StackOptions, say_nothing
from tracecraft_stack.ports import is_free
from tracecraft_stack.watch import Watch

if TYPE_CHECKING:
    from tracecraft_stack.bridge import BridgeServer
    from tracecraft_stack.nats_server import NatsServer
    from tracecraft_stack.options import Report
    from tracecraft_stack.postgres import PostgresServer
    from tracecraft_stack.seaweedfs import SeaweedServer
    from tracecraft_stack.server import Server

T = TypeVar("T")

ATTEMPTS: Final = 3
"""How often ports are chosen before a stack gives up."""

STOPPING: Final = "stopping"
SLOW_STOP: Final = "; SeaweedFS takes about 15 s"
"""What is said before a stop, which is silent for so long."""

_log = logging.getLogger(__name__)


class Stack:
    """A supervised stack: ``with Stack(StackOptions(data=folder)) as stack: use(stack.state.nats_url)``.

    It starts once; a stopped stack is not started again, make another on the same folder.

    Args:
        options: what to run, and where.
        report: told what happens, one event at a time, from any thread.
    """

    def __init__(self, options: StackOptions, report: Report = say_nothing) -> None:
        if options.bridge and not options.postgres:
            raise StackError("the bridge needs PostgreSQL: leave both in, or both out")
        self.options = options
        self._layout = Layout(options.data.absolute())
        self._report, self._reporting = report, threading.Lock()
        self._lock: FolderLock | None = None
        self._servers: Servers | None = None
        self._state: StackState | None = None
        self._watch: Watch | None = None
        self._failure: BaseException | None = None
        self._abandon = threading.Event()
        self._stopping, self._restarting = threading.Event(), threading.Event()
        self.auto_restart = options.restart

    @property
    def auto_restart(self) -> bool:
        """Whether a server that dies is brought back; may be changed at any time."""
        return self._restarting.is_set()

    @auto_restart.setter
    def auto_restart(self, wanted: bool) -> None:
        (self._restarting.set if wanted else self._restarting.clear)()

    @property
    def state(self) -> StackState:
        """Where everything is. Raises `StackError` unless the stack is up."""
        return _present(self._state, "state: it is not up")

    @property
    def servers(self) -> Servers:
        """Its servers. Raises `StackError` before the start."""
        return _present(self._servers, "servers: it is not up")

    @property
    def nats(self) -> NatsServer:
        """nats-server."""
        return self.servers.nats

    @property
    def postgres(self) -> PostgresServer:
        """PostgreSQL. Raises `StackError` when the options leave it out; so do the next two."""
        return _present(self.servers.postgres, "PostgreSQL")

    @property
    def seaweedfs(self) -> SeaweedServer:
        """SeaweedFS."""
        return _present(self.servers.seaweedfs, "SeaweedFS")

    @property
    def bridge(self) -> BridgeServer:
        """The bridge."""
        return _present(self.servers.bridge, "bridge")

    def start(self) -> StackState:
        """Starts everything and waits until it is ready.

        Raises `StackError` when the folder is taken or not usable, or a server does not start: then nothing is left
        running.
        """
        began = time.monotonic()
        self._layout.make()
        self._lock = FolderLock(self._layout.data)
        try:
            self._bring_up()
        except BaseException:
            self.stop()
            raise
        self._tell("stack", Change.READY, time.monotonic() - began)
        return self.state

    def request_stop(self) -> None:
        """Asks for the stop, from a signal handler or another thread: `start` gives up, `wait` returns."""
        self._stopping.set()
        self._abandon.set()

    @property
    def stopping(self) -> bool:
        """Whether a stop was asked for."""
        return self._stopping.is_set()

    def wait(self) -> None:
        """Returns when a stop is asked for."""
        self._stopping.wait()

    def stop(self) -> None:
        """Stops everything in order and gives the folder up. Does nothing the second time."""
        self._stopping.set()
        if self._watch is not None:
            self._watch.end()
        if self._lock is None:
            return
        (self._layout.data / STATE_FILE).unlink(missing_ok=True)
        if self._state is not None:
            slow = bool(self._state.s3_endpoint) and self.options.fsync
            self._tell("stack", Change.NOTICE, detail=STOPPING + (SLOW_STOP if slow else ""))
        for server in self._servers.in_stop_order() if self._servers else []:
            self._stop_server(server)
        self._lock.release()
        self._lock = self._state = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _bring_up(self) -> None:
        (self._layout.data / STATE_FILE).unlink(missing_ok=True)
        for name in self._layout.stop_orphans():
            self._tell(name, Change.NOTICE, detail="an orphan of a killed supervisor was stopped")
        self._servers = self._start_somewhere()
        self._state = self._servers.describe(self._layout, self.options)
        write_private(self._layout.data / STATE_FILE, msgspec.json.encode(self._state))
        self._watch = Watch(self._servers.in_stop_order(), self._forward, self._restarting)

    def _start_somewhere(self) -> Servers:
        """Starts the servers; on other ports when somebody took one between its choice and its use."""
        for left in reversed(range(ATTEMPTS)):
            self._servers = servers = assemble(self._layout, self.options)
            try:
                self._start_together(servers)
                break
            except StackError:
                for server in servers.in_stop_order():
                    server.stop()
                robbed = not all(is_free(port) for server in servers.in_stop_order() for port in server.listens_on())
                if self.stopping or not robbed or not left:
                    raise
        return servers

    def _start_together(self, servers: Servers) -> None:
        """All at once, the bridge after the two that it needs; the first failure ends the other starts."""
        self._failure, self._abandon = None, threading.Event()
        if self.stopping:
            self._abandon.set()
        with ThreadPoolExecutor(4, thread_name_prefix="start") as pool:
            rest = [server for server in servers.in_stop_order() if server is not servers.bridge]
            starts = {server.name: pool.submit(self._start_server, server) for server in rest}
            if servers.bridge is not None:
                wait([starts["nats"], starts["postgres"]])
                starts["bridge"] = pool.submit(self._start_server, servers.bridge)
        if self._failure is not None:
            raise self._failure

    def _start_server(self, server: Server) -> None:
        try:
            if self._abandon.is_set():
                raise StackError(f"{server.name} was stopped before it started")
            seconds = server.start(self._abandon)
        except BaseException as error:
            self._failure = self._failure or error
            self._abandon.set()
            return
        for notice in server.notices:
            self._tell(server.name, Change.NOTICE, detail=notice)
        self._tell(server.name, Change.READY, seconds)

    def _stop_server(self, server: Server) -> None:
        if server.alive:
            began = time.monotonic()
            server.stop()
            self._tell(server.name, Change.STOPPED, time.monotonic() - began)

    def _tell(self, server: str, change: Change, seconds: float = 0.0, detail: str = "") -> None:
        self._forward(StackEvent(server, change, seconds, detail))

    def _forward(self, event: StackEvent) -> None:
        with self._reporting:
            try:
                self._report(event)
            except Exception:  # a broken terminal of the reporter must not take the servers down
                _log.exception("the reporter failed at %s", event)


def _present(value: T | None, what: str) -> T:
    if value is None:
        raise StackError(f"this stack has no {what}")
    return value
