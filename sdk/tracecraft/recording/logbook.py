"""`Logbook`: what one process writes into one run, as the bodies of events."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from tracecraft.redaction import redact
from tracecraft_core import values
from tracecraft_core.errors import UsageError
from tracecraft_core.metric_point import MAX_STEP, checked_step
from tracecraft_core.run_events import INLINE_BYTES, MAX_NAME, PREVIEW, Params, StepData

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tracecraft.recording.recorder import Recorder
    from tracecraft_core.bodies import Body
    from tracecraft_core.run_events import Blob, Cause

LONGEST_TAG: Final = 4_096
"""Characters of a tag's value that are kept."""
MOST_PARAMS: Final = 64 * 1024
"""Bytes of parameters in one event."""

LATEST_US: Final = 253_402_300_800_000_000
"""Microseconds since 1970 at the end of the year 9999."""

_encoder: Final = msgspec.json.Encoder()


def now() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


def moment(time: float | None) -> int:
    """The microseconds since 1970 of a caller's seconds, or of now. Raises `UsageError`."""
    if time is None:
        return now()
    try:
        at = int(time * 1_000_000)
    except (TypeError, ValueError, OverflowError):
        at = -1
    if not 0 <= at < LATEST_US:
        raise UsageError(f"time {time!r}: seconds since 1970 are expected, as time.time() gives")
    return at


class Logbook:
    """Encodes, redacts, and hands to the recorder; shared by a run, its agents and its steps."""

    def __init__(self, project: str, run: str, agent: str, trace: str, root_step: str | None) -> None:
        self.project, self.run, self.agent, self.trace = project, run, agent, trace
        self.root_step = root_step
        """The step of another process inside of which this process works."""
        self.owner: object = None
        """The run's face."""
        self.cause: Cause = "original"
        """Of usage that does not say why it was spent."""
        self.redacted: Counter[str] = Counter()
        """How many times each rule of redaction replaced something in this run."""
        self._recorder: Recorder | None = None
        self._over = False
        self._next_step: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()

    def open(self, recorder: Recorder) -> None:
        """Begin to write."""
        self._recorder = recorder

    def end(self) -> None:
        """Refuse what comes from now on."""
        self._over = True

    @property
    def writing(self) -> Recorder:
        """The recorder. Raises `UsageError` before the run has begun and after it has ended."""
        if self._over:
            raise UsageError(
                f"run {self.run} has ended: log inside of its block, or join it again with run_id={self.run!r}"
            )
        if self._recorder is None:
            raise UsageError(f"run {self.run} has not begun: use it as a block, 'with tracecraft.run(...) as run:'")
        return self._recorder

    async def settle(self) -> None:
        """Wait, for a moment at most, until the log has what was recorded so far."""
        if self._recorder is not None and not self._over:
            await self._recorder.settle()

    def event(self, agent: str, event: str, body: Body) -> None:
        """Record an event."""
        recorder = self._recorder
        if recorder is None or self._over:
            recorder = self.writing
        recorder.record(agent, event, _encode(body))

    def late_event(self, agent: str, event: str, body: Body) -> None:
        """Record the end of something; the recorder counts it as dropped if the run has ended before."""
        if self._recorder is not None:
            self._recorder.record(agent, event, _encode(body))

    def metric(self, agent: str, key: str, value: Any, step: int | None, time_us: int) -> None:
        """Record a point; without a step it is the next one of its key."""
        if type(key) is not str or not 0 < len(key) <= MAX_NAME or "\0" in key:
            key = _name(key)
        if type(value) is not float:
            value = _number(key, value)
        recorder = self._recorder
        if recorder is None or self._over:
            recorder = self.writing
        place = (agent, key)
        if step is None:
            with self._lock:
                step = min(self._next_step.get(place, 0), MAX_STEP)
                self._next_step[place] = step + 1
        else:
            if type(step) is not int or not 0 <= step <= MAX_STEP:
                step = checked_step(key, step)
            self._next_step[place] = step + 1
        recorder.metric(agent, key, value, step, time_us)

    def data(self, agent: str, event: str, step: str, value: Any, time: float | None = None) -> None:
        """Record what went into a step or came out of it; a large value goes to the object store."""
        recorder = self.writing
        body, counts = self.clean(values.encode(value))
        if len(body) <= INLINE_BYTES:
            said = StepData(step=step, value=msgspec.Raw(body), redacted=counts, time=moment(time))
        else:
            said = StepData(step=step, blob=self.blob(body), redacted=counts, time=moment(time))
        recorder.record(agent, event, _encode(said))

    def blob(self, body: bytes) -> Blob:
        """A reference to JSON that is too large for an event."""
        return self.writing.blob(body, "application/json", preview=_preview(body))

    def clean(self, body: bytes) -> tuple[bytes, dict[str, int]]:
        """JSON without secrets; what was replaced is counted."""
        body, counts = redact.json(body)
        if counts:
            with self._lock:
                self.redacted.update(counts)
        return body, counts

    def text(self, text: str) -> str:
        """A text without secrets; what was replaced is counted."""
        text, counts = redact.counted(text)
        if counts:
            with self._lock:
                self.redacted.update(counts)
        return text

    def tags(self, tags: Mapping[str, Any]) -> dict[str, str]:
        """Tags as they are recorded: text, without secrets."""
        _check_mapping("tags", tags, "{'team': 'a'}")
        texts = {name: values.as_tag(value) for name, value in tags.items()}
        cleaned: dict[str, str] = msgspec.json.decode(self.clean(values.encode(texts))[0])
        return {name: value[:LONGEST_TAG] for name, value in cleaned.items()}  # no rule knows a piece of a secret

    def params(self, params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Parameters as they are recorded, in portions that fit into one event each."""
        _check_mapping("params", params, "{'lr': 1e-3}")
        body, _ = self.clean(values.encode(dict(params)))
        if len(body) <= MOST_PARAMS:
            yield cast("dict[str, Any]", msgspec.Raw(body))
            return
        portion: dict[str, Any] = {}
        size = 0
        for name, value in msgspec.json.decode(body).items():
            raw = values.encode(value)
            if len(raw) > INLINE_BYTES:
                raw = values.encode({"$cut": _preview(raw), "size": len(raw)})
            if portion and size + len(raw) > MOST_PARAMS:
                yield portion
                portion, size = {}, 0
            portion[name] = msgspec.Raw(raw)
            size += len(raw) + len(name)
        yield portion

    def log_params(self, agent: str, params: Mapping[str, Any]) -> None:
        """Record parameters."""
        for portion in self.params(params):
            self.event(agent, "param", Params(params=portion, time=now()))


def _encode(body: Body) -> bytes:
    return values.storable(_encoder.encode(body))


def _preview(body: bytes) -> str:
    return body[: 4 * PREVIEW].decode("utf-8", "ignore")[:PREVIEW]


def _check_mapping(what: str, given: Any, example: str) -> None:
    if not hasattr(given, "items"):
        raise UsageError(f"{what} {given!r}: a dict is expected, for example {example}")
    for name in given:
        if not isinstance(name, str) or not 0 < len(values.text(name)) <= MAX_NAME:
            raise UsageError(f"{what}: {name!r} is no name of 1 to {MAX_NAME} characters; for example {example}")


def _name(key: Any) -> str:
    name = values.text(key) if isinstance(key, str) else ""
    if not 0 < len(name) <= MAX_NAME:
        raise UsageError(f"metric {key!r}: a name of 1 to {MAX_NAME} characters is expected, for example 'loss'")
    return name


def _number(key: str, value: Any) -> float:
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError("it is text")
        return float(value)
    except Exception as error:
        shown = values.note(value)["$repr"][:80]
        raise UsageError(
            f"metric {key}: {shown} is not a number ({error}); for example log_metric({key!r}, 0.5)"
        ) from None
