"""A run published once more: the same entries in a project of their own, marked so that nothing counts twice. Pure.

Nobody pays twice: usage says ``cause: replay``, and the run ``purpose: replay``. Each time the run has a new id, and
``forked_from`` names the original: two replays of a run are two runs. Headers of the server (``Nats-…``) are
left out: ids would be taken for repeats, revisions for those of the buckets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tracecraft_core import ids, subjects
from tracecraft_core.cut import is_deletion, raw_bytes
from tracecraft_core.names import MAX_TOKEN
from tracecraft_core.subjects import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tracecraft_core.queries import Entry

SUFFIX: Final = "-replay"
HEADER: Final = "Tc-Replay"
"""``<project>/<sequence>`` of the entry that is published again."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What to publish."""

    subject: str
    headers: dict[str, str]
    body: bytes


def replay_project(project: str) -> str:
    """The project in which a replay happens."""
    return project[: MAX_TOKEN - len(SUFFIX)] + SUFFIX


def renamed_runs(entries: Iterable[Entry], project: str) -> dict[str, str]:
    """A fresh id for each run that has events among the entries."""
    prefix = f"{ROOT}.{project}.run."
    runs = (entry.subject.split(".")[3] for entry in entries if entry.subject.startswith(prefix))
    return {run: ids.run() for run in dict.fromkeys(runs)}


def rewritten(entry: Entry, project: str, published: Mapping[int, int], runs: Mapping[str, str]) -> Publication | None:
    """An entry as it is published again; ``None`` for what is not of the project.

    ``published`` has the new sequence of each message that went out, so that receipts and answers point at those;
    ``runs`` the new id of each run (`renamed_runs`).
    """
    tokens = entry.subject.split(".")
    if len(tokens) < 4 or tokens[:2] != [ROOT, project]:
        return None
    rest = [tokens[2], runs.get(tokens[3], tokens[3]), *tokens[4:]] if tokens[2] == "run" else tokens[2:]
    subject = ".".join([ROOT, replay_project(project), *rest])
    headers = {name: value for name, value in entry.headers.items() if not name.lower().startswith("nats-")}
    flat = {name: value[0] if isinstance(value, list) else value for name, value in headers.items()}
    if subjects.RUN in flat:
        run, slash, step = flat[subjects.RUN].partition("/")
        flat[subjects.RUN] = runs.get(run, run) + slash + step
    body = _body(entry, tokens[2:], published, runs)
    return Publication(subject, {**flat, HEADER: f"{project}/{entry.seq}"}, body)


def _body(entry: Entry, tokens: list[str], published: Mapping[int, int], runs: Mapping[str, str]) -> bytes:
    if entry.raw is not None:
        return raw_bytes(entry)
    body = msgspec.json.decode(entry.body) if isinstance(entry.body, msgspec.Raw) else entry.body
    if body is None and (tokens[0] != "memory" or is_deletion(entry)):
        return b""
    return msgspec.json.encode({**body, **_changed(tokens, body, published, runs)} if isinstance(body, dict) else body)


def _changed(
    tokens: list[str], body: dict[str, Any], published: Mapping[int, int], runs: Mapping[str, str]
) -> dict[str, Any]:
    match tokens:
        case ["run", run, _, "started"]:
            parent = body.get("parent")
            inside = {"parent": runs.get(parent, parent)} if isinstance(parent, str) else {}
            return {"purpose": "replay", "forked_from": run, **inside}
        case ["run", _, _, "usage"]:
            return {"cause": "replay"}
        case ["receipt", *_]:
            return {"id": published.get(body.get("id", 0), 0)}
        case ["msg" | "all", *_] if "reply_to" in body:
            return {"reply_to": published.get(body["reply_to"] or 0)}
    return {}
