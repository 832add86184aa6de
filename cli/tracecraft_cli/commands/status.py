"""``tracecraft status``."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Any

import click

from tracecraft_cli.options import Common, common
from tracecraft_cli.output import emit, note
from tracecraft_cli.runner import guard

if TYPE_CHECKING:
    from tracecraft_cli.health import Health


@click.command()
@click.option("--otel", is_flag=True, help="Only the lines that point an exporter of OpenTelemetry at the stack here.")
@common
def command(common: Common, otel: bool) -> None:
    """Show the health of everything in one screen: bus, streams, bridge, stores, and what goes on in the project.

    Exits with 1 when something is down, with 69 when the bus cannot be reached. With --json it has the URL of the bus,
    token included for the stack of this machine, so that any NATS client can be pointed at it.

    With --otel it prints OTEL_EXPORTER_OTLP_... for this project, token included, and nothing else: for a file that
    only you can read, or for eval "$(tracecraft status --otel)".

    Example: nats --server "$(tracecraft status --json | jq -r .result.bus.url)" sub 'tc.>'
    """
    guard(common.as_json, lambda: _otel(common) if otel else _show(common))


def _otel(common: Common) -> None:
    from tracecraft_cli import otel_lines
    from tracecraft_core import settings

    found = otel_lines.variables(settings.load(common.flags))
    emit(common.as_json, found, otel_lines.lines(found))


def _show(common: Common) -> None:
    import asyncio

    from tracecraft_cli import health, spooled
    from tracecraft_core import settings
    from tracecraft_core.errors import BusUnreachable

    resolved = settings.load(common.flags)
    waits = spooled.summary(resolved)
    try:
        found = asyncio.run(health.examine(resolved))
    except BusUnreachable:
        if waits:
            note(f"tracecraft: {waits}")
        raise
    result = {"healthy": not found.problems, "problems": found.problems} | dataclasses.asdict(found)
    lines = [_text(found), *([_line("spool", waits)] if waits else [])]
    emit(common.as_json, result | {"waiting": waits}, "\n".join(lines))
    if found.problems:
        sys.exit(1)


def _text(found: Health) -> str:
    lines = [_line("bus", _bus(found)), _line("streams", _streams(found))]
    lines += [_line("", f"drift: {drift}") for stream in found.streams for drift in stream["drift"]]
    if found.bridge is not None:
        lag = f"{found.bridge.get('lag', '?')} messages behind ({found.bridge.get('lag_seconds', 0):g} s)"
        up = f"{found.bridge.get('role', 'up')}, {lag}" if found.bridge["up"] else f"DOWN: {found.bridge['reason']}"
        lines.append(_line("bridge", f"{found.bridge['address']} {up}"))
    for name, part in (("postgres", found.postgres), ("seaweedfs", found.seaweedfs)):
        if part is not None:
            lines.append(_line(name, f"{part['address']} {'up' if part['up'] else 'DOWN'}"))
    if found.stack is not None:
        if found.stack["otlp"] is not None:
            lines.append(_line("otlp", f"{found.stack['otlp']['endpoint']} (its token: --json)"))
        lines.append(_line("durability", f"{found.stack['durability']}: {found.stack['meaning']}"))
        if found.storage is not None:
            lines += _disk(found.storage)
        lines.append(_line("data", f"{found.stack['data']} (supervisor pid {found.stack['pid']})"))
    return "\n".join(lines + _project(found))


def _line(name: str, text: str) -> str:
    return f"{name:<11}{text}"


def _bus(found: Health) -> str:
    bus = found.bus
    jetstream = f"JetStream answers in {bus['milliseconds']:g} ms" if bus["jetstream"] else "JetStream DOWN"
    return f"{bus['address']} nats-server {bus['version']}, {jetstream}"


def _disk(storage: dict[str, Any]) -> list[str]:
    state = "DOWN: " if storage["level"] == "bad" else ""
    lines = [_line("disk", f"{state}{storage['message']}")]
    return [*lines, _line("", f"fix: {storage['fix']}")] if storage["fix"] else lines


def _streams(found: Health) -> str:
    if not any(stream["exists"] for stream in found.streams):
        return "none yet: the first command that writes creates them"
    return ", ".join(_stream(stream) for stream in found.streams)


def _stream(stream: dict[str, Any]) -> str:
    if not stream["exists"]:
        return f"{stream['name']} missing"
    return f"{stream['name']} {stream['messages']} ({_size(stream['bytes'])})"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _project(found: Health) -> list[str]:
    project = found.project
    if "tasks" not in project:
        return []
    agents, tasks = project["agents_online"], project["tasks"]
    shown = f"{len(agents)} online{': ' + ', '.join(agents[:8]) if agents else ''}{', …' if len(agents) > 8 else ''}"
    return [
        _line("project", f"{project['name']}, you are {project['agent']}"),
        _line("agents", shown),
        _line("tasks", ", ".join(f"{count} {state}" for state, count in tasks.items()) or "none"),
        _line("mail", f"{project['unread']} unread"),
    ]
