"""``status --otel``: the variables by which every exporter of OpenTelemetry finds the receiver of the stack here."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from tracecraft_core import semconv
from tracecraft_core.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracecraft_core.settings import Settings


def variables(resolved: Settings) -> dict[str, str]:
    """By their names. Raises `NotFound` when nothing here receives OpenTelemetry."""
    from tracecraft_cli.health import own_stack

    stack = own_stack(resolved)
    if stack is None or not stack.otlp_url:
        why = "a stack with a bridge has one: 'tracecraft serve --detach'"
        raise NotFound("receiver of OpenTelemetry", "this machine", why)
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": stack.otlp_url,
        "OTEL_EXPORTER_OTLP_HEADERS": f"x-tracecraft-token={stack.otlp_token}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_RESOURCE_ATTRIBUTES": f"{semconv.PROJECT}={resolved.project}",
    }


def lines(found: Mapping[str, str]) -> str:
    """As a shell reads them."""
    return "\n".join(f"export {name}={shlex.quote(said)}" for name, said in found.items())
