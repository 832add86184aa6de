"""The bodies of run events as the projections decode them: values that are only passed on stay undecoded."""

from __future__ import annotations

from typing import Final

import msgspec

from tracecraft_core import run_events
from tracecraft_core.bodies import Body
from tracecraft_core.run_events import Blob, Origin, Purpose

_EMPTY: Final = msgspec.Raw(b"")


class RunStartedRaw(Body, frozen=True, kw_only=True):
    """`run_events.RunStarted`."""

    name: str
    time: int
    params: dict[str, msgspec.Raw] = msgspec.field(default_factory=dict)
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    parent: str | None = None
    purpose: Purpose = "original"
    forked_from: str | None = None
    forked_at: int | None = None
    trace: str | None = None
    origin: Origin = Origin()
    provisional: bool = False


class ParamsRaw(Body, frozen=True, kw_only=True):
    """`run_events.Params`."""

    params: dict[str, msgspec.Raw]
    time: int


class StepDataRaw(Body, frozen=True, kw_only=True):
    """`run_events.StepData`."""

    step: str
    value: msgspec.Raw = _EMPTY
    blob: Blob | None = None


class MetricTyped(Body, frozen=True, kw_only=True, gc=False):
    """`run_events.Metric`."""

    points: list[tuple[str, float | str, int | None, int]]


DECODERS: Final[dict[str, msgspec.json.Decoder[Body]]] = {
    event: msgspec.json.Decoder(body)
    for event, body in {
        **run_events.EVENTS,
        "started": RunStartedRaw,
        "param": ParamsRaw,
        "step.input": StepDataRaw,
        "step.output": StepDataRaw,
        "metric": MetricTyped,
    }.items()
}
"""A decoder for each event that the projections know."""
