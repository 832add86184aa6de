"""Which run telemetry belongs to: what it says itself, before anybody is asked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from tracecraft_bridge.otlp.meaning import as_token
from tracecraft_bridge.otlp.redacting import clean, redaction
from tracecraft_bridge.otlp.telemetry import text
from tracecraft_core import names, semconv
from tracecraft_core.errors import InvalidName

if TYPE_CHECKING:
    from collections.abc import Mapping

Origin = Literal["trace", "inside", "named", "copy", "session", "service"]

_SESSIONS: Final = (
    (semconv.CLAUDE_PREFIX, semconv.CLAUDE_SESSION, "claude", "Claude Code"),
    (semconv.CODEX_PREFIX, semconv.CODEX_CONVERSATION, "codex", "Codex"),
)
"""Beginning of a name, the attribute with the session's id, what we call the source, and what people call it."""
SOURCE: Final = "otlp"
"""Value of the tag ``source`` of runs that came by this door."""


class Misplaced(Exception):
    """It names a run or a project that cannot be one."""


@dataclass(frozen=True, slots=True)
class Home:
    """A run to write into."""

    project: str
    run: str
    origin: Origin
    """``trace``: the run is the trace, and over when its root span is. ``inside``: somebody else's run that handed out
    a ``traceparent``. ``named``: `semconv.RUN` says so. ``copy``: that of a run of another project, into which nobody
    else writes here. ``session``: of a coding agent. ``service``: what belongs to no run goes to the one of its
    process."""
    trace: str = ""
    name: str = ""
    source: str = SOURCE


def home_of(
    found: Mapping[str, Any], resource: Mapping[str, Any], *, name: str, trace: str, project: str
) -> tuple[Home, bool]:
    """The home of a span, a log record or a metric; and whether it is to be asked whose trace that is.

    Args:
        found: its attributes.
        resource: those of its resource.
        name: its name, by which coding agents are known.
        trace: its trace id, empty without one.
        project: where telemetry goes that names no project.

    Raises `Misplaced`.
    """
    where = _checked(semconv.PROJECT, text(found, semconv.PROJECT) or text(resource, semconv.PROJECT) or project)
    if text(resource, semconv.EXPORTED_FROM) == where:
        raise Misplaced(f"it was exported from project {where} and is there already; 'runs import' takes a bundle")
    run = text(found, semconv.RUN) or text(resource, semconv.RUN)
    if run:
        named = _without_secret(_checked(semconv.RUN, run))
        return Home(where, named, "copy" if semconv.EXPORTED_FROM in resource else "named", name=named), False
    for prefix, attribute, source, shown in _SESSIONS:
        session = text(found, attribute) or text(resource, attribute)
        if session and name.startswith(prefix):
            token = as_token(session)
            return Home(
                where, f"{source}-otel-{token}"[:64], "session", name=f"{shown} {token[:8]}", source=source
            ), False
    if trace:
        return Home(where, trace, "trace", trace=trace), True
    return _service(where, resource), False


def _service(project: str, resource: Mapping[str, Any]) -> Home:
    """The run of a process: as long as nobody says more, all of one service is one."""
    service = text(resource, semconv.SERVICE_NAME) or semconv.UNKNOWN_SERVICE
    instance = text(resource, semconv.SERVICE_INSTANCE) or text(resource, semconv.PROCESS_PID)
    token = "-".join(filter(None, (as_token(service)[:40], as_token(instance)[:12])))
    return Home(project, f"otel-{token}", "service", name=service)


def _without_secret(run: str) -> str:
    """The id of a run; one that looks like a secret is another one, and always the same."""
    if redaction.text(run) == run:
        return run
    return f"{as_token(run)[:40]}-{hashlib.sha256(run.encode()).hexdigest()[:12]}"


def _checked(attribute: str, said: str) -> str:
    try:
        return names.project(said) if attribute == semconv.PROJECT else names.run(said)
    except InvalidName as error:
        why = "a name with a secret in it" if redaction.text(said) != said else str(error)
        raise Misplaced(f"{attribute} is {clean(said, 80)!r}: {why}"[:300]) from None
