"""The events that one-shot commands write into a run, made of what was given."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING, Any, cast

from tracecraft_cli.run_book import Event
from tracecraft_core import run_events
from tracecraft_core.run_events import Origin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracecraft_core.run_events import EndStatus


def now() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


def started(name: str, params: Mapping[str, Any], tags: Mapping[str, str], parent: str | None) -> Event:
    """A run begins here."""
    from tracecraft.recording.origin import origin

    trace, span = place_in_trace()
    body = run_events.RunStarted(
        name=name,
        time=now(),
        params=dict(params),
        tags=dict(tags),
        parent=parent,
        trace=trace,
        span=span,
        origin=origin(),
    )
    return Event("started", body)


def place_in_trace() -> tuple[str | None, str | None]:
    """The trace and the span of ``TRACEPARENT``, inside of which whoever started this command works; or nothing."""
    from tracecraft.recording.traceparent import parse

    found = parse(os.environ.get("TRACEPARENT", ""))
    return (None, None) if found is None else (found.trace, found.span)


def joined() -> Event:
    """The first event of a writer that did not start the run."""
    return Event("joined", run_events.RunJoined(time=now(), origin=Origin(host=socket.gethostname(), pid=os.getpid())))


def left() -> Event:
    """The last event of a writer that does not end the run."""
    return Event("left", run_events.WriterLeft(time=now()))


def failure(message: str | None) -> run_events.Failure | None:
    """What went wrong, as somebody put it into words."""
    return run_events.Failure(type="Error", message=message) if message else None


def ended(status: str, error: run_events.Failure | None) -> Event:
    """The run is over."""
    return Event("ended", run_events.RunEnded(status=cast("EndStatus", status), time=now(), error=error))
