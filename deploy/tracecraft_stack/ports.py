"""Ports of the stack: the defaults, and free ones when those are taken."""

from __future__ import annotations

import random
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from tracecraft_core.errors import StackError
from tracecraft_stack.identity import identify

if TYPE_CHECKING:
    from collections.abc import Iterable

LOOPBACK: Final = "127.0.0.1"
"""The only address the stack listens on."""

DEFAULT_PORTS: Final = {
    "nats": 4222,  # NATS clients
    "nats_monitor": 8222,  # nats-server's own HTTP monitoring
    "postgres": 54329,  # not 5432, which a PostgreSQL of the machine may want later
    "s3": 8333,  # SeaweedFS, S3
    "bridge": 9422,  # /metrics and /healthz
    "otlp": 4318,  # what OpenTelemetry exporters send to
    "seaweed_master": 9333,
    "seaweed_volume": 9334,
    "seaweed_filer": 9335,
    "seaweed_master_grpc": 19333,
    "seaweed_volume_grpc": 19334,
    "seaweed_filer_grpc": 19335,
    "seaweed_s3_grpc": 18333,
}
"""Name -> port that is taken when it is free and the data folder has no port of its own yet."""

FREE_RANGE: Final = range(20000, 32000)
"""Where free ports are drawn from. Below Linux's ephemeral range (32768 up): a client that reconnects to a dead server
on an ephemeral port can be given that very port as its own, and then nobody can listen there."""


def is_free(port: int) -> bool:
    """Whether a server could listen on a loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def free_port(taken: Iterable[int] = ()) -> int:
    """A free loopback port outside ``taken``, drawn at random so that stacks that start together do not meet."""
    avoid = set(taken)
    for _ in range(1000):
        port = random.choice(FREE_RANGE)
        if port not in avoid and is_free(port):
            return port
    raise StackError(f"no free port between {FREE_RANGE.start} and {FREE_RANGE.stop}")


def choose_ports(fixed: dict[str, int], last: dict[str, int]) -> dict[str, int]:
    """A port for every name of `DEFAULT_PORTS`: the fixed one, else last time's, else the default, else a free one.

    Args:
        fixed: ports the caller insists on; 0 and absent mean "any".
        last: ports this data folder had before; URLs stay the same over restarts.

    Raises `StackError` when a fixed port is taken.
    """
    chosen: dict[str, int] = {name: _require(name, port) for name, port in fixed.items() if port}
    for name, default in DEFAULT_PORTS.items():
        if name not in chosen:
            chosen[name] = _first_free((last.get(name, default), default), chosen.values())
    return chosen


def _require(name: str, port: int) -> int:
    if not is_free(port):
        raise StackError(
            f"port {port} for {name} is taken by {holder(port)}: stop that process, or leave the port open to choice"
        )
    return port


def _first_free(wanted: Iterable[int], taken: Iterable[int]) -> int:
    used = set(taken)
    return next((port for port in wanted if port not in used and is_free(port)), None) or free_port(used)


def holder(port: int) -> str:
    """Who listens on a port, for an error message: as much as this user may know."""
    for _ in range(10):  # a process that ends during the search spoils it
        with suppress(StackError):
            pids = _listeners(port)
            if pids:
                oldest = min((identify(pid) for pid in pids), key=lambda known: known.created)
                return f"pid {oldest.pid} ({oldest.name})"
    return "another process"


def listens(pid: int, ports: Iterable[int]) -> bool:
    """Whether this process itself listens on all of these ports; true where the system does not tell."""
    import psutil

    try:
        found = psutil.Process(pid).net_connections("tcp")
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True
    return set(ports) <= {c.laddr[1] for c in found if c.status == psutil.CONN_LISTEN}


def _listeners(port: int) -> set[int]:
    """The processes that listen, forks that have not yet let go of the socket included."""
    import psutil

    try:
        found = psutil.net_connections("tcp")
    except psutil.Error:
        return set()
    return {c.pid for c in found if c.status == psutil.CONN_LISTEN and c.pid and c.laddr[1:] == (port,)}
