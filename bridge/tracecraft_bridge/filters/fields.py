"""What a filter can ask about, and how it is found in the tables."""

from __future__ import annotations

import dataclasses
import difflib
import re
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["text", "number", "seconds", "time", "flag", "status", "purpose", "either"]
"""``either``: a parameter, which is text and, where it can be, a number."""

CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "status": ("running", "finished", "failed", "killed", "crashed"),
    "purpose": ("original", "fork", "replay", "eval"),
}

AGENT_STATUS: Final = (
    "CASE WHEN x.status <> 'running' OR r.status = 'running' THEN x.status "
    "WHEN r.status = 'crashed' THEN 'lost' ELSE 'ended' END"
)
"""An agent ``x`` of a run ``r``: one that nobody ended is over with its run."""


MEAN: Final = (
    "greatest(x.min, least(x.max, CASE WHEN x.sum = 0 OR abs(x.sum) > 1e-290 "
    "OR abs(x.sum * 2::float8 ^ 200 / nullif(x.points - x.nans, 0)) > 2::float8 ^ -875 "
    "THEN x.sum / nullif(x.points - x.nans, 0) ELSE 0 END))"
)
"""Mean of a row ``x`` of ``metric_latest``, null where it has no numbers.

PostgreSQL refuses a quotient that is too small for a float, in place of making it 0: up to 2^-1075. A sum that would
overflow stays at the largest float, but the mean is never outside of what was logged.
"""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a run."""

    name: str
    """As it is documented, without the key."""
    kind: Kind
    sql: str
    """The value, of the table ``r`` (run) or of the one that is searched."""
    table: str = ""
    """Table with zero or more rows for each run; empty: the run's own row."""
    key: str | None = None
    """Which metric, parameter or tag."""
    nullable: bool = True


COLUMNS: Final = {
    field.name: field
    for field in (
        Field("run", "text", "r.run", nullable=False),
        Field("name", "text", "r.name", nullable=False),
        Field("status", "status", "r.status", nullable=False),
        Field("purpose", "purpose", "r.purpose", nullable=False),
        Field("agent", "text", "r.agent", nullable=False),
        Field("parent", "text", "r.parent"),
        Field("forked_from", "text", "r.forked_from"),
        Field("started", "time", "r.started", nullable=False),
        Field("ended", "time", "r.ended"),
        Field("heard", "time", "r.heard", nullable=False),
        Field(
            "seconds",
            "seconds",
            "extract(epoch FROM coalesce(r.ended, r.heard) - r.started)::double precision",
            nullable=False,
        ),
        Field("cost", "number", "r.cost"),
        Field("unpriced", "number", "r.unpriced", nullable=False),
        Field("events", "number", "r.events", nullable=False),
        Field("steps", "number", "r.steps", nullable=False),
        Field("errors", "number", "r.errors", nullable=False),
        Field("points", "number", "r.points", nullable=False),
        Field("problems", "number", "r.problems", nullable=False),
        Field("dropped", "number", "r.dropped", nullable=False),
        Field("tokens.input", "number", "r.input_tokens", nullable=False),
        Field("tokens.cache_read", "number", "r.cache_read_tokens", nullable=False),
        Field("tokens.cache_write", "number", "r.cache_write_tokens", nullable=False),
        Field("tokens.output", "number", "r.output_tokens", nullable=False),
        Field("tokens.reasoning", "number", "r.reasoning_tokens", nullable=False),
        Field("host", "text", "r.host"),
        Field("command", "text", "r.command"),
        Field("git.commit", "text", "r.git_commit"),
        Field("git.branch", "text", "r.git_branch"),
        Field("git.dirty", "flag", "r.git_dirty"),
        Field("error.type", "text", "r.error_type"),
        Field("error.message", "text", "r.error_message"),
        Field("reason", "text", "r.reason"),
        Field("agent.name", "text", "x.agent", "run_agent", nullable=False),
        Field("agent.model", "text", "x.model", "run_agent"),
        Field("agent.role", "text", "x.role", "run_agent"),
        Field("agent.status", "text", AGENT_STATUS, "run_agent", nullable=False),
        Field("agent.steps", "number", "x.steps", "run_agent", nullable=False),
        Field("agent.errors", "number", "x.errors", "run_agent", nullable=False),
        Field("artifact.name", "text", "x.name", "artifact", nullable=False),
        Field("artifact.kind", "text", "x.kind", "artifact", nullable=False),
        Field("artifact.size", "number", "x.size", "artifact", nullable=False),
        Field("artifact.sha256", "text", "x.sha256", "artifact", nullable=False),
    )
}
"""Every field without a key, by name."""

STATISTICS: Final = {
    "last": Field("metrics.last", "number", "x.value", "metric_latest", nullable=False),
    "first": Field("metrics.first", "number", "x.first", "metric_latest", nullable=False),
    "min": Field("metrics.min", "number", "x.min", "metric_latest"),
    "max": Field("metrics.max", "number", "x.max", "metric_latest"),
    "mean": Field("metrics.mean", "number", MEAN, "metric_latest"),
    "points": Field("metrics.points", "number", "x.points", "metric_latest", nullable=False),
    "step": Field("metrics.step", "number", "x.step", "metric_latest", nullable=False),
}
"""What is known of a metric: ``metrics.loss.min``; without one, ``last``."""

_KEYED: Final = {
    "metrics": STATISTICS["last"],
    "params": Field("params", "either", "x.text", "run_param", nullable=False),
    "tags": Field("tags", "text", "x.value", "run_tag", nullable=False),
}
_ALIASES: Final = {
    "id": "run",
    "run_id": "run",
    "run_name": "name",
    "start_time": "started",
    "created": "started",
    "end_time": "ended",
    "duration": "seconds",
    "took": "seconds",
    "git_commit": "git.commit",
    "git_branch": "git.branch",
    "git_dirty": "git.dirty",
    "agents.name": "agent.name",
    "agents": "agent.name",
}
_ROOTS: Final = {
    "metric": "metrics",
    "param": "params",
    "parameter": "params",
    "parameters": "params",
    "tag": "tags",
    "agents": "agent",
    "artifacts": "artifact",
}
_OWN: Final = ("attribute", "attributes", "attr", "run")
"""Beginnings that mean the run itself, as MLflow writes it."""
_PART: Final = re.compile(r"`([^`]*)`|\"((?:[^\"\\]|\\.)*)\"|([^.`\"]+)", re.DOTALL)


class UnknownField(ValueError):
    """No such field. Attribute: ``hint``."""

    def __init__(self, name: str, hint: str) -> None:
        super().__init__(f"no field {name!r}")
        self.hint = hint


def field(path: str) -> Field:
    """The field of a path as it stands in a filter: ``cost``, ``metrics.loss.min``, ``tags.`a key```.

    Raises `UnknownField`.
    """
    parts = [(found.group(0), "".join(part or "" for part in found.groups())) for found in _PART.finditer(path)]
    first = parts[0][0].lower()
    if first in _OWN and len(parts) > 1:
        parts = parts[1:]
        first = parts[0][0].lower()
    root = _ROOTS.get(first, first)
    if root in _KEYED:
        return _keyed(path, root, parts[1:])
    plain = ".".join(name for _, name in parts).lower()
    renamed = plain if root == first else root + plain[len(first) :]
    found = COLUMNS.get(_ALIASES.get(plain, _ALIASES.get(renamed, renamed)))
    if found is None:
        raise UnknownField(path, _nearest(plain))
    return found


def keyed(root: str, key: str) -> Field:
    """The field of a metric, parameter or tag of any key. Raises `UnknownField`."""
    base = _KEYED.get(_ROOTS.get(root.lower(), root.lower()))
    if base is None:
        raise UnknownField(root, "metrics, params and tags have keys: has tag nightly")
    return dataclasses.replace(base, key=key)


def _keyed(path: str, root: str, parts: list[tuple[str, str]]) -> Field:
    if not parts:
        raise UnknownField(path, f"{root} need a key, as {root}.{'loss' if root == 'metrics' else 'team'}")
    base = _KEYED[root]
    if root == "metrics" and len(parts) > 1 and parts[-1][0].lower() in STATISTICS:
        base, parts = STATISTICS[parts[-1][0].lower()], parts[:-1]
    key = ".".join(name for _, name in parts)
    return dataclasses.replace(base, key=key)


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, [*COLUMNS, *_ALIASES], 1)
    first, dot, rest = name.partition(".")
    if not near and dot:
        near = difflib.get_close_matches(first, ["metrics", "params", "tags", "agent", "artifact"], 1)
        near = [f"{near[0]}.{rest}"] if near else []
    shown = ", ".join(["metrics.<key>", "params.<key>", "tags.<key>", *(name for name in COLUMNS if "." not in name)])
    return f"did you mean {near[0]!r}?" if near else f"there are {shown}"
