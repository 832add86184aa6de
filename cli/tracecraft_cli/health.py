"""The health of everything: the bus and its streams, the local stack, and what goes on in the project."""

# ruff: noqa: TID253 - commands import this module when they run

from __future__ import annotations

import asyncio
import json
import shutil
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

from tracecraft.async_session import AsyncSession
from tracecraft_cli import task_list
from tracecraft_core import local, subjects, topology
from tracecraft_core.errors import NotFound, TracecraftError

if TYPE_CHECKING:
    from tracecraft_core.local import StackState
    from tracecraft_core.settings import Settings

PATIENCE_S: Final = 3.0
"""Seconds for which one question is repeated: a health check must not wait for an election."""

PROBE_S: Final = 2.0
"""Seconds in which a server of the local stack must answer."""

FULL_BYTES: Final = 100 * 1024**2
"""Free space of the data folder below which its servers fail soon."""
LOW_BYTES: Final = 1024**3
LOW_SHARE: Final = 0.05
"""Free space, and its share of the disk, below which one should know."""

FREE_SPACE: Final = "free some space on the disk of {}"
RESTARTS: Final = ": the bus is then restarted by itself, within seconds"

DURABILITY: Final = {
    "interval": "flushed to disk every second: a crash of a server costs nothing, one of the machine the last second",
    "durable": "flushed to disk before every acknowledgement: what was acknowledged survives a crash of the machine",
}


@dataclass(frozen=True, slots=True)
class Health:
    """What `examine` found; the fields of ``--json``."""

    bus: dict[str, Any]
    streams: list[dict[str, Any]]
    stack: dict[str, Any] | None
    """The stack that runs on this machine, when the bus is its own."""
    storage: dict[str, Any] | None
    """The disk of that stack: whether it has space, and whether the bus can write to it."""
    bridge: dict[str, Any] | None
    postgres: dict[str, Any] | None
    seaweedfs: dict[str, Any] | None
    project: dict[str, Any]

    @property
    def problems(self) -> list[str]:
        """What is down, in words."""
        found = [] if self.bus["jetstream"] else ["JetStream is not enabled on the server"]
        if self.storage is not None and self.storage["level"] == "bad":
            found.append(self.storage["message"])
        for name, part in (("bridge", self.bridge), ("PostgreSQL", self.postgres), ("SeaweedFS", self.seaweedfs)):
            if part is not None and not part["up"]:
                reason = part.get("reason")
                found.append(f"{name} at {part['address']} is down{': ' + reason if reason else ''}")
        return found


async def examine(resolved: Settings) -> Health:
    """Look at everything and change nothing. Raises `BusUnreachable`."""
    stack = own_stack(resolved)
    async with observer(resolved) as session:
        bus = await _bus(session, resolved, stack)
        streams: list[dict[str, Any]] = []
        project: dict[str, Any] = {"name": resolved.project, "agent": resolved.agent}
        if bus["jetstream"]:
            streams = await asyncio.gather(*(_stream(session, wanted) for wanted in topology.definitions()))
            project |= await _project(session)
    disk, bridge, postgres, seaweedfs = await asyncio.gather(
        storage(stack),
        _bridge(stack.bridge_url if stack else ""),
        _port(stack.postgres_dsn if stack else ""),
        _port(stack.s3_endpoint if stack else ""),
    )
    return Health(bus, streams, _about(stack), disk, bridge, postgres, seaweedfs, project)


def own_stack(resolved: Settings) -> StackState | None:
    """The stack of this machine, if the settings lead to its bus."""
    stack = local.running_stack()
    if stack is None:
        return None
    return stack if _host(resolved.values["server"]) == _host(stack.nats_url) else None


def observer(resolved: Settings) -> AsyncSession:
    """A session that creates nothing and gives up soon."""
    session = AsyncSession(resolved=resolved, mode="oneshot", patience=PATIENCE_S)
    session.context.bus.on_missing_stream = None
    return session


def _host(url: str) -> str:
    parts = urlsplit(url if "://" in url else f"nats://{url}")
    name = {"localhost": "127.0.0.1"}.get(parts.hostname or "", parts.hostname)
    return f"{name}:{parts.port or 4222}"


async def _bus(session: AsyncSession, resolved: Settings, stack: StackState | None) -> dict[str, Any]:
    bus, loop = session.context.bus, asyncio.get_running_loop()
    began = loop.time()
    try:
        await bus.api("INFO")
        enabled = True
    except TracecraftError:
        enabled = False
    return {
        "url": stack.nats_url if stack else resolved.server,
        "address": bus.transport.url,
        "version": bus.transport.server_version,
        "jetstream": enabled,
        "milliseconds": round((loop.time() - began) * 1000, 2),
    }


async def _stream(session: AsyncSession, wanted: dict[str, Any]) -> dict[str, Any]:
    try:
        info = await session.context.bus.api(f"STREAM.INFO.{wanted['name']}")
    except NotFound:
        return {"name": wanted["name"], "exists": False, "messages": 0, "bytes": 0, "drift": []}
    state, drift = info["state"], topology.drift(wanted, info["config"])
    return {
        "name": wanted["name"],
        "exists": True,
        "messages": state["messages"],
        "bytes": state["bytes"],
        "drift": [str(difference) for difference in drift],
    }


async def _project(session: AsyncSession) -> dict[str, Any]:
    context = session.context
    online, listed, (unread, fetched) = await asyncio.gather(
        context.bus.last_values(*context.kv(subjects.AGENTS, "*")),
        task_list.read(session, ">", ()),
        session.mail.pending(),
    )
    return {
        "agents_online": sorted(context.key(subjects.AGENTS, stored.subject) for stored in online),
        "tasks": dict(sorted(Counter(one.state for one in listed).items())),
        "unread": unread + fetched,
    }


def _about(stack: StackState | None) -> dict[str, Any] | None:
    if stack is None:
        return None
    return {
        "data": stack.data,
        "pid": stack.pid,
        "started": stack.started,
        "durability": stack.durability,
        "meaning": DURABILITY.get(stack.durability, ""),
        "otlp": {"endpoint": stack.otlp_url, "token": stack.otlp_token} if stack.otlp_url else None,
    }


async def storage(stack: StackState | None) -> dict[str, Any] | None:
    """The disk under the stack of this machine, and what nats-server says of its last writes to it.

    It writes nothing: a write to a full disk would break one more stream of a nats-server that is still whole.
    """
    if stack is None:
        return None
    from tracecraft_stack.nats_server import broken_disk

    error = broken_disk(*await asyncio.to_thread(_http_get, f"{stack.nats_monitor_url}/healthz"))
    try:
        disk = shutil.disk_usage(stack.data)
    except OSError as unseen:
        level, message = "bad", f"{stack.data}: {unseen.strerror}"
        return {"free": None, "total": None, "level": level, "message": message, "fix": "tracecraft stop"}
    level, message = judge_space(disk.free, disk.total)
    if error:
        level, message = "bad", f"the bus cannot write: {error} ({message})"
    fix = FREE_SPACE.format(stack.data) + (RESTARTS if error else "") if level != "ok" else None
    return {"free": disk.free, "total": disk.total, "level": level, "message": message, "fix": fix}


def judge_space(free: int, total: int) -> tuple[Literal["ok", "warn", "bad"], str]:
    """Whether so much free space is enough, and what to call it."""
    message = f"{free // 1024**2} MiB free of {total // 1024**2} MiB"
    if free < FULL_BYTES:
        return "bad", f"the disk is as good as full: {message}"
    if free < LOW_BYTES or free < LOW_SHARE * total:
        return "warn", f"the disk is nearly full: {message}"
    return "ok", message


async def _bridge(url: str) -> dict[str, Any] | None:
    if not url:
        return None
    status, body = await asyncio.to_thread(_http_get, f"{url}/healthz")
    try:
        said = dict(json.loads(body))
    except ValueError:
        said = {}
    said.setdefault("reason", None if status else "no answer")
    return {"address": url, "up": status == 200} | said


def _http_get(url: str) -> tuple[int, bytes]:
    import http.client

    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PROBE_S)
    try:
        connection.request("GET", parts.path)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


async def _port(url: str) -> dict[str, Any] | None:
    """Whether a server accepts connections; what it thinks of its data, the bridge knows."""
    if not url:
        return None
    parts = urlsplit(url)
    address = f"{parts.hostname}:{parts.port}"
    try:
        async with asyncio.timeout(PROBE_S):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.close()
    except (OSError, TimeoutError):
        return {"address": address, "up": False}
    return {"address": address, "up": True}
