"""What an entry of the log says, in one line; and whether it says that something went wrong.

The words are as others wrote them: who shows them takes away their power over the terminal.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from tracecraft_cli.amounts import decimal
from tracecraft_core import subjects
from tracecraft_core.task_ids import spoken_kind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tracecraft_core.queries import Entry

    _Body = Mapping[str, Any]
    _Said = tuple[str, bool]

SHOWN: Final = 240
"""Characters of the line."""
_CUT: Final = "…"
PAIRS: Final = 12
"""Parameters or tags that are named."""
LONGEST: Final = 2**40
"""Microseconds, twelve days: the bridge does not believe in a longer step either."""
_BAD_RUNS: Final = frozenset({"failed", "killed"})
_BAD_TASKS: Final = frozenset({"failed", "blocked"})
_UNITS: Final = ("B", "kB", "MB", "GB", "TB")


def tell(family: str, rest: str, entry: Entry) -> tuple[str, bool]:
    """Its line, and whether it is an error. ``rest``: event of a run, else the subject behind the family."""
    text, error, _ = line(family, rest, entry)
    return text, error


def line(family: str, rest: str, entry: Entry) -> tuple[str, bool, bool]:
    """Its line, whether it is an error, and whether the line has not all of what the entry says."""
    body = entry.body if isinstance(entry.body, dict) else {}
    if family == "run":
        by_event = _RUN.get(rest)
        text, error = by_event(body) if by_event and body else (f"{rest} {_raw(entry)}", False)
    else:
        by_family = _FAMILY.get(family)
        text, error = by_family(rest, entry, body) if by_family else (f"{entry.subject} {_raw(entry)}", False)
    shown = " ".join(text[: 4 * SHOWN].split())
    return shown[:SHOWN], error, len(shown) > SHOWN or len(text) > 4 * SHOWN or (len(text) > SHOWN and _CUT in shown)


def duration(microseconds: object) -> str:
    """``320 us``, ``1.2 ms``, ``3.4 s``, ``2 m 5 s``, ``1 h 3 m``; empty without one, ``?`` for one that cannot be."""
    if not isinstance(microseconds, (int, float)) or isinstance(microseconds, bool):
        return ""
    if not 0 <= microseconds <= LONGEST:
        return "?"
    for limit, size, unit in ((1e3, 1, "us"), (1e6, 1e3, "ms"), (60e6, 1e6, "s")):
        if microseconds < limit:
            return f"{microseconds / size:.3g} {unit}"
    seconds = round(microseconds / 1e6)
    if seconds < 3600:
        return f"{seconds // 60} m {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} m"


def size(count: object) -> str:
    """``512 B``, ``1.2 MB``."""
    number = float(count) if isinstance(count, (int, float)) else 0.0
    for unit in _UNITS:
        if number < 1000 or unit == _UNITS[-1]:
            break
        number /= 1000
    return f"{number:.3g} {unit}"


def short(value: Any) -> str:
    """A JSON value in one line, strings bare, cut."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + _CUT


def _raw(entry: Entry) -> str:
    return entry.raw if entry.raw is not None else short(entry.body)


def _pairs(values: Any) -> str:
    if not isinstance(values, dict):
        return short(values)
    more = f" and {len(values) - PAIRS} more" if len(values) > PAIRS else ""
    return ", ".join(f"{key}={short(value)}" for key, value in list(values.items())[:PAIRS]) + more


def _failure(body: _Body) -> str:
    error = body.get("error")
    if not isinstance(error, dict):
        return ""
    message = error.get("message")
    return f": {error.get('type')}" + (f": {message}" if message else "")


def _started(body: _Body) -> _Said:
    params = body.get("params")
    return f"run {body.get('name')} begins" + (f" with {_pairs(params)}" if params else ""), False


def _joined(body: _Body) -> _Said:
    origin = body.get("origin")
    where = f" on {origin.get('host')} (pid {origin.get('pid')})" if isinstance(origin, dict) and origin else ""
    return f"another process joins the run{where}", False


def _left(body: _Body) -> _Said:
    dropped = body.get("dropped") or 0
    return "a process leaves the run" + (f", {dropped} records dropped" if dropped else ""), bool(dropped)


def _ended(body: _Body) -> _Said:
    status = body.get("status")
    return f"run {status}{_failure(body)}", status in _BAD_RUNS


def _crashed(body: _Body) -> _Said:
    last = f", last step {body['last_step']}" if body.get("last_step") else ""
    return f"run crashed: {body.get('reason')}{last}", True


def _deleted(body: _Body) -> _Said:
    return f"run deleted by {body.get('by')}" + (f": {body['reason']}" if body.get("reason") else ""), False


def _agent_started(body: _Body) -> _Said:
    known = [str(body[key]) for key in ("role", "model") if body.get(key)]
    return "takes part" + (f" as {', '.join(known)}" if known else ""), False


def _agent_ended(body: _Body) -> _Said:
    bad = body.get("status") == "error"
    return f"is done{' with an error' if bad else ''}{_failure(body)}", bad


def _step(body: _Body) -> str:
    kind = body.get("kind", "other")
    return f"{body.get('name')}" + (f" ({kind})" if kind != "other" else "")


def _step_started(body: _Body) -> _Said:
    return f"begins {_step(body)}" + (f" on {spoken_kind(str(body['task']))}" if body.get("task") else ""), False


def _step_ended(body: _Body) -> _Said:
    bad = body.get("status") == "error"
    return f"{'fails in' if bad else 'ends'} {_step(body)} after {duration(body.get('duration'))}{_failure(body)}", bad


def _data(word: str) -> Callable[[_Body], _Said]:
    def tell_data(body: _Body) -> _Said:
        blob = body.get("blob")
        if isinstance(blob, dict):
            return f"{word} of {size(blob.get('size'))}: {blob.get('preview', '')}", False
        return f"{word} {short(body.get('value'))}", False

    return tell_data


def _usage(body: _Body) -> _Said:
    words = [
        f"{body[key]} {word}"
        for key, word in (
            ("input", "in"),
            ("cache_read", "from cache"),
            ("cache_write", "into cache"),
            ("output", "out"),
            ("reasoning", "reasoning"),
        )
        if body.get(key)
    ]
    cost = body.get("cost")
    price = [f"{decimal(cost, 6)} {body.get('currency', 'USD')}"] if isinstance(cost, (int, float)) else []
    return f"uses {body.get('model') or 'a model'}: {', '.join(words + price)}", False


def _metric(body: _Body) -> _Said:
    points = body.get("points")
    if not isinstance(points, list):
        return f"metric {short(body if points is None else points)}", False
    shown = [f"{p[0]}={short(p[1])}" for p in points[:6] if isinstance(p, list) and len(p) > 1]
    return "metric " + ", ".join(shown) + (f" and {len(points) - 6} more" if len(points) > 6 else ""), False


def _artifact(body: _Body) -> _Said:
    return f"artifact {body.get('name')} ({size(body.get('size'))})", False


def _log(body: _Body) -> _Said:
    level = body.get("level", "info")
    return (f"{level}: " if level != "info" else "") + str(body.get("text")), level == "error"


_RUN: Final[dict[str, Callable[[_Body], _Said]]] = {
    "started": _started,
    "joined": _joined,
    "left": _left,
    "ended": _ended,
    "crashed": _crashed,
    "deleted": _deleted,
    "agent.started": _agent_started,
    "agent.ended": _agent_ended,
    "step.started": _step_started,
    "step.input": _data("input"),
    "step.output": _data("output"),
    "step.ended": _step_ended,
    "usage": _usage,
    "metric": _metric,
    "param": lambda body: (f"param {_pairs(body.get('params'))}", False),
    "tag": lambda body: (f"tag {_pairs(body.get('tags'))}", False),
    "artifact": _artifact,
    "log": _log,
}


def _message(rest: str, entry: Entry, body: _Body) -> _Said:
    to, _, sender = rest.partition(".")
    kind = body.get("kind", "note")
    words = f"{kind} " if kind != "note" else ""
    return f"{words}to {to if sender else 'all'}: {short(body.get('text', _raw(entry)))}", False


def _receipt(rest: str, _: Entry, body: _Body) -> _Said:
    words = {"fetched": "reads", "acked": "acknowledges", "expired": "will not read"}
    return f"{words.get(str(body.get('state')), 'has')} #{body.get('id')} of {rest.partition('.')[0]}", False


def _presence(rest: str, _: Entry, body: _Body) -> _Said:
    event = rest.partition(".")[2]
    bad = event == "lost"
    if body.get("task"):
        return f"{event} {spoken_kind(str(body['task']))}" + (f": {body['reason']}" if body.get("reason") else ""), bad
    return event + (f" on {body['host']}" if body.get("host") else ""), bad


def _gone(entry: Entry) -> bool:
    return subjects.KV_OPERATION in entry.headers or subjects.MARKER_REASON in entry.headers


def _memory(rest: str, entry: Entry, _: _Body) -> _Said:
    fence = entry.headers.get(subjects.FENCE)
    return f"memory {rest} {'deleted' if _gone(entry) else '= ' + _raw(entry)}" + (
        f" (under {fence})" if fence else ""
    ), False


def _task(rest: str, entry: Entry, body: _Body) -> _Said:
    if not body:
        return f"{spoken_kind(rest)} {'deleted' if _gone(entry) else _raw(entry)}", False
    state = body.get("state", "open")
    words = [f"{spoken_kind(rest)} {state}"]
    took, handoff = body.get("took_over_from"), body.get("handoff")
    if state == "claimed" and isinstance(took, dict):
        words.append(f"(taken over from {took.get('owner')})")
    if state != "claimed" and isinstance(handoff, dict) and handoff.get("note"):
        words.append(f"- {handoff['note']}")
    return " ".join(words), state in _BAD_TASKS


_FAMILY: Final[dict[str, Callable[[str, Entry, _Body], _Said]]] = {
    "msg": _message,
    "all": _message,
    "receipt": _receipt,
    "agent": _presence,
    "memory": _memory,
    "task": _task,
}
