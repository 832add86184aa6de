"""`RUN`: inside of which run, and which step of it, the code that runs now writes."""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from tracecraft_core import subjects

if TYPE_CHECKING:
    from collections.abc import Mapping

RUN: Final[ContextVar[str | None]] = ContextVar("tracecraft_run", default=None)
"""``<run>`` or ``<run>/<step>``; it follows the code across ``await`` and onto a session's loop."""

_MARKED: Final = re.compile(
    rf"\$KV\.({subjects.MEMORY}|{subjects.TASKS})\.|{subjects.ROOT}\.[^.]+\.(msg|all|receipt)\."
)


def mark(subject: str, headers: Mapping[str, str] | None, default: str | None = None) -> dict[str, str]:
    """The headers with ``Tc-Run``, where a run has a part in this subject and they do not name one already."""
    marked = dict(headers or {})
    run = RUN.get() or default
    if run is not None and _MARKED.match(subject):
        marked.setdefault(subjects.RUN, run)
    return marked
