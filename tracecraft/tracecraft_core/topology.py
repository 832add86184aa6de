"""The streams and buckets: what they are, their creation by whoever comes first, and how they drifted.

Five streams serve every project of a NATS account, so their number does not grow with projects or agents. The memory
and task buckets keep up to a million revisions a key because the log sources from them and pauses during an election
(with 64 it lost a quarter of a hot key's history; docs/decisions/0001-one-log.md); the bridge trims what is mirrored.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tracecraft_core import subjects
from tracecraft_core.errors import BusError, NotFound

if TYPE_CHECKING:
    from tracecraft_core.bus import Bus

EPOCH: Final = "tc.epoch"
"""Metadata of the log: a random id of this life of the log. A log that is deleted and made again has another."""

REVISIONS_PER_KEY: Final = 1_000_000
MARKER_TTL_S: Final = 60
"""Seconds that the server's marker of a lapsed lease stays readable."""
MAX_CONSUMERS: Final = 20_000

SOURCES_S: Final = 2.0
"""Most seconds to wait for a new log to hear the buckets; measured: 0.15 to 0.2."""

_SECOND: Final = 1_000_000_000

_KEEPS_ALL: Final[dict[str, Any]] = {
    "discard": "new",
    "max_age": 0,
    "max_msg_size": -1,
    "no_ack": False,
    "republish": None,
}
"""What every stream needs so that nothing acknowledged is dropped; a limit of bytes or messages only refuses."""


@dataclass(frozen=True, slots=True)
class Drift:
    """A setting of a stream that is not what tracecraft needs."""

    stream: str
    setting: str
    wanted: object
    found: object

    def __str__(self) -> str:
        return f"{self.stream}: {self.setting} is {self.found!r}, tracecraft needs {self.wanted!r}"


def definitions(replicas: int = 1) -> list[dict[str, Any]]:
    """Every stream's configuration, in the order of creation: the log sources from the buckets."""
    return [
        _bucket(subjects.MEMORY, replicas, max_msgs_per_subject=REVISIONS_PER_KEY),
        _bucket(subjects.TASKS, replicas, max_msgs_per_subject=REVISIONS_PER_KEY),
        _bucket(subjects.LEASES, replicas, **_ephemeral()),
        _bucket(subjects.AGENTS, replicas, **_ephemeral()),
        _log(replicas),
    ]


def _bucket(bucket: str, replicas: int, **special: Any) -> dict[str, Any]:
    return {
        "name": subjects.kv_stream(bucket),
        "subjects": [f"$KV.{bucket}.>"],
        "retention": "limits",
        "storage": "file",
        **_KEEPS_ALL,
        "num_replicas": replicas,
        "allow_rollup_hdrs": True,
        "allow_direct": False,
        "deny_delete": True,
        "max_consumers": MAX_CONSUMERS,
        "duplicate_window": subjects.DUPLICATE_WINDOW_S * _SECOND,
        **special,
    }


def _ephemeral() -> dict[str, Any]:
    """History 1 and a TTL on every write: the only shape in which a lapsed value never comes back."""
    return {
        "max_msgs_per_subject": 1,
        "allow_msg_ttl": True,
        "subject_delete_marker_ttl": MARKER_TTL_S * _SECOND,
    }


def _log(replicas: int) -> dict[str, Any]:
    return {
        "name": subjects.LOG,
        "subjects": [f"{subjects.ROOT}.>"],
        "retention": "limits",
        "storage": "file",
        **_KEEPS_ALL,
        "num_replicas": replicas,
        "allow_direct": True,
        "max_consumers": MAX_CONSUMERS,
        "duplicate_window": subjects.DUPLICATE_WINDOW_S * _SECOND,
        "sources": [_source(subjects.MEMORY, "memory"), _source(subjects.TASKS, "task")],
    }


def _source(bucket: str, family: str) -> dict[str, Any]:
    transform = {"src": f"$KV.{bucket}.*.>", "dest": f"{subjects.ROOT}.{{{{wildcard(1)}}}}.{family}.>"}
    return {"name": subjects.kv_stream(bucket), "subject_transforms": [transform]}


async def ensure(bus: Bus, *, replicas: int = 1) -> list[Drift]:
    """Create what is missing, change nothing that exists, and return how it differs from what we need.

    Safe to run from many processes at once. Raises `NotPermitted` without the right to create.
    """
    drifts: list[Drift] = []
    for wanted in definitions(replicas):
        found = await _info(bus, wanted["name"])
        if found is None:
            found = await _create(bus, wanted)
            if wanted["name"] == subjects.LOG:
                await _hear_sources(bus)
        drifts += drift(wanted, found)
    return drifts


async def _hear_sources(bus: Bus) -> None:
    """Wait until a new log hears both buckets: each begins by itself, and until then their changes may swap places."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + SOURCES_S
    while loop.time() < deadline:
        sources = (await bus.api(f"STREAM.INFO.{subjects.LOG}")).get("sources") or []
        if sources and all(source.get("active", -1) >= 0 for source in sources):
            return
        await asyncio.sleep(0.02)


async def check(bus: Bus) -> list[Drift]:
    """How the streams differ from what we need; a missing one is a drift too. Creates nothing."""
    drifts: list[Drift] = []
    for wanted in definitions():
        found = await _info(bus, wanted["name"])
        drifts += [Drift(wanted["name"], "existence", True, False)] if found is None else drift(wanted, found)
    return drifts


async def _info(bus: Bus, stream: str) -> dict[str, Any] | None:
    try:
        return dict((await bus.api(f"STREAM.INFO.{stream}"))["config"])
    except NotFound:
        return None


async def _create(bus: Bus, wanted: dict[str, Any]) -> dict[str, Any]:
    metadata = {EPOCH: uuid.uuid4().hex} if wanted["name"] == subjects.LOG else {}
    try:
        return dict((await bus.api(f"STREAM.CREATE.{wanted['name']}", wanted | {"metadata": metadata}))["config"])
    except BusError as error:  # someone else created it a moment ago, with another epoch
        found = await _info(bus, wanted["name"])
        if found is None:
            raise error from None
        return found


async def epoch(bus: Bus) -> str:
    """The id of this life of the log; empty for a log that was made without one."""
    info = await bus.api(f"STREAM.INFO.{subjects.LOG}")
    return str(info["config"].get("metadata", {}).get(EPOCH, ""))


def drift(wanted: dict[str, Any], found: dict[str, Any]) -> list[Drift]:
    """Compare what we need with what a server reports; replicas are the operator's choice."""
    ours = {setting: value for setting, value in wanted.items() if setting not in ("num_replicas", "metadata")}
    different = [
        Drift(wanted["name"], setting, value, _comparable(found.get(setting)))
        for setting, value in ours.items()
        if _comparable(found.get(setting)) != value and not (value is False and setting not in found)
    ]
    if wanted["name"] == subjects.LOG and not found.get("metadata", {}).get(EPOCH):
        different.append(Drift(wanted["name"], f"metadata {EPOCH}", "a random id", None))
    return different


def _comparable(value: object) -> object:
    """A server's answer without what it adds to sources by itself."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [{key: item[key] for key in ("name", "subject_transforms") if key in item} for item in value]
    return value
