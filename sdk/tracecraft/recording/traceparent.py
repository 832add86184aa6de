"""W3C trace context (https://www.w3.org/TR/trace-context/): the ``traceparent`` of runs and steps, read and written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from tracecraft_core.errors import UsageError

_FORM: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?")


@dataclass(frozen=True, slots=True)
class TraceParent:
    """A place in a trace."""

    trace: str
    """32 hexadecimal digits."""
    span: str
    """16 hexadecimal digits; a step's id is one."""

    def __str__(self) -> str:
        return f"00-{self.trace}-{self.span}-01"

    @property
    def is_root(self) -> bool:
        """Whether this stands for the run as a whole, and for none of its steps; see `root`."""
        return self.span == self.trace[16:]


def root(trace: str) -> TraceParent:
    """The place of a run as a whole: no step has the second half of the trace id."""
    return TraceParent(trace, trace[16:] if trace[16:].strip("0") else trace[:16])


def parse(text: str) -> TraceParent | None:
    """A ``traceparent``, or ``None`` for what is none: the standard says to begin a new trace then."""
    found = _FORM.fullmatch(text.strip())
    return TraceParent(found.group(1), found.group(2)) if found else None


def given(text: object) -> TraceParent:
    """A ``traceparent`` that the caller gave. Raises `UsageError`."""
    found = parse(text) if isinstance(text, str) else None
    if found is None:
        example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        raise UsageError(f"traceparent {text!r} is not one of W3C trace context; for example {example!r}")
    return found
