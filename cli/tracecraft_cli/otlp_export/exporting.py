"""A run from the bridge to its target, batch by batch."""

# ruff: noqa: TID253 - commands import this module when they run

from __future__ import annotations

import asyncio
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from tracecraft_cli.amounts import counted
from tracecraft_cli.otlp_export import files
from tracecraft_cli.otlp_export.encoding import Encoder
from tracecraft_cli.otlp_export.endpoint import (
    HEADERS_VARIABLE,
    Endpoint,
    EndpointRefused,
    environment_headers,
    header,
    is_url,
)
from tracecraft_cli.otlp_export.gathering import Gatherer, Told, resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from tracecraft.context import Context
    from tracecraft_cli.otlp_export.span import Span

BATCH: Final = 512
"""Most spans of a batch, as OpenTelemetry's own exporters have it."""
BATCH_BYTES: Final = 2 * 1024 * 1024
"""A batch ends when its texts have about so many characters."""


def check(target: str, headers: Iterable[str]) -> dict[str, str]:
    """The headers of the requests. Raises `UsageError` for a target or a header that is none."""
    given = dict(header(one) for one in headers)
    if is_url(target):
        Endpoint(target, {}, Encoder({}, ""))
        return {**environment_headers(os.environ.get(HEADERS_VARIABLE, "")), **given}
    files.check(target)
    return {}


async def export(context: Context, run: str, target: str, headers: dict[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Export a run; what was done, and what people should know of it.

    Raises `NotFound`, `BridgeAway`, `FileProblem`, `EndpointAway`, `EndpointRefused`.
    """
    gatherer = Gatherer(context)
    traced = await gatherer.open(run)
    about = resource(traced)
    encoder = Encoder(about, str(about["service.version"] or ""))
    batches = _batches(gatherer.spans(traced.detail.row.run))
    done = {"run": traced.detail.row.run, "trace": traced.trace}
    if is_url(target):
        endpoint = Endpoint(target, headers, encoder)
        async for batch in batches:
            await asyncio.to_thread(endpoint.send, batch)
        if endpoint.rejected:
            why = "; ".join(endpoint.warnings) or "it does not say why"
            raise EndpointRefused(endpoint.name, 200, f"{endpoint.rejected:,} of them: {why}", endpoint.taken)
        return done | {"target": endpoint.name} | asdict(gatherer.told), [*_notes(gatherer.told), *endpoint.warnings]
    with files.opened(target, lambda: encoder) as writer:
        async for batch in batches:
            writer.write(batch)
    return done | {"target": target} | asdict(gatherer.told), list(_notes(gatherer.told))


async def _batches(spans: AsyncIterator[Span]) -> AsyncIterator[list[Span]]:
    batch: list[Span] = []
    size = 0
    async for span in spans:
        batch.append(span)
        size += sum(len(value) for value in span.attributes.values() if isinstance(value, str))
        if len(batch) == BATCH or size > BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _notes(told: Told) -> Iterable[str]:
    if told.open:
        yield (
            f"{counted(told.open, 'step or run has', 'steps or runs have')} not ended: there a span ends where the run "
            "was last heard; export it again when it is over"
        )
    if told.previews:
        values = counted(told.previews, "value is", "values are")
        yield f"{values} exported as the beginning only; attribute '.cut' says why"
    if told.unlinked:
        letters = counted(told.unlinked, "message was", "messages were")
        yield f"{letters} read here and sent outside of every run: no link"
