"""What one request adds to one run: events with numbers of their own, the same whenever the request is repeated.

Every request is a writer of its own in each run that it touches, and its id is a hash of what was sent. So an exporter
that repeats a request, because the answer was lost or the bridge was killed half-way, writes the same numbers again,
and the log and the projections know each as a repeat. Nothing about numbers has to be remembered.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tracecraft_bridge.otlp.redacting import clean, redaction
from tracecraft_bridge.otlp.telemetry import text
from tracecraft_core import semconv, subjects, values
from tracecraft_core.run_events import INLINE_BYTES, PREVIEW, Blob, Origin, RunJoined, RunStarted, StepData, StepEnded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracecraft_bridge.otlp.home import Home
    from tracecraft_core.bodies import Body

PREFIX: Final = "otlp-"
"""Beginning of the writers' ids."""
_MOST: Final = subjects.MAX_BODY_BYTES * 3 // 4


@dataclass(slots=True)
class Draft:
    """An event that waits for its number."""

    agent: str
    event: str
    body: bytes
    large: StepData | None = None
    """Without its value, which is the ``body`` and goes to the object store."""


class Writing:
    """The events of one run, in order; make it, `begin`, add, `end`."""

    def __init__(self, home: Home, agent: str, digest: bytes) -> None:
        self.home, self.agent = home, agent
        place = f"{home.project}/{home.run}/".encode()
        self.writer = PREFIX + hashlib.sha256(place + digest).hexdigest()[:40]
        self.drafts: list[Draft] = []

    def begin(self, started: RunStarted) -> None:
        """The first event: the run's beginning, or that we join one that somebody else has begun."""
        if self.home.origin == "inside":
            self.add(self.agent, "joined", RunJoined(time=started.time, origin=started.origin))
        else:
            self.add(self.agent, "started", started)

    def add(self, agent: str, event: str, body: Body) -> None:
        """An event, without secrets."""
        encoded, _ = redaction.json(values.storable(_encode(body)))
        if len(encoded) > _MOST:
            encoded, _ = redaction.json(values.storable(_encode(_without_extras(body))))
        self.drafts.append(Draft(agent, event, encoded))

    def data(self, agent: str, event: str, step: str, value: Any, time: int) -> None:
        """What went into a step or came out of it."""
        body, counts = redaction.json(values.encode(value))
        if len(body) <= INLINE_BYTES:
            said = StepData(step=step, value=msgspec.Raw(body), redacted=counts, time=time)
            self.drafts.append(Draft(agent, event, _encode(said)))
        else:
            self.drafts.append(Draft(agent, event, body, StepData(step=step, redacted=counts, time=time)))

    def messages(self) -> list[tuple[str, bytes, str]]:
        """Subject, body and message id of each event; there is no large one left."""
        project, run = self.home.project, self.home.run
        return [
            (subjects.run_event(project, run, draft.agent, draft.event), draft.body, f"{self.writer}:{number}")
            for number, draft in enumerate(self.drafts, 1)
        ]


def stored(draft: Draft, blob: Blob | None) -> bytes:
    """The body of a large event: with the reference, or without a store with the beginning of the value."""
    assert draft.large is not None
    if blob is not None:
        return _encode(msgspec.structs.replace(draft.large, blob=blob))
    cut = {"$cut": draft.body[:PREVIEW].decode("utf-8", "ignore"), "size": len(draft.body)}
    return _encode(msgspec.structs.replace(draft.large, value=cut))


def _without_extras(body: Body) -> Body:
    """A body that does not fit into a message, for it is full of what JSON has to escape, without what is optional."""
    if isinstance(body, RunStarted):
        return msgspec.structs.replace(body, tags={}, params={})
    if isinstance(body, StepEnded):
        return msgspec.structs.replace(body, tags={}, error=None)
    return body


def origin_of(resource: Mapping[str, Any]) -> Origin:
    """Where the process runs."""
    pid = resource.get(semconv.PROCESS_PID)
    return Origin(
        host=clean(text(resource, semconv.HOST_NAME), 200),
        pid=pid if isinstance(pid, int) and 0 < pid < 2**31 else 0,
    )


_encode = msgspec.json.Encoder().encode
