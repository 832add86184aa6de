"""What must be true when it is over: asked of the bridge, of git, and of what the models were shown."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from script import READER, RELIEF, TO_READER, TO_WRITER, WRITER

if TYPE_CHECKING:
    from model import Model
    from repository import Repository

    import tracecraft
    from tracecraft_core.queries import RunRow

Fact = tuple[bool, str]

_CHANGES = """
    SELECT key, body FROM log WHERE project = %s AND family = 'task' AND body IS NOT NULL ORDER BY epoch, seq
"""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a task: what it became, by whom, and what was said."""

    task: str
    state: str
    owner: str | None
    note: str | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What there is to look at."""

    session: tracecraft.Session
    model: Model
    repository: Repository
    runs: dict[str, RunRow]
    """By agent."""
    replays: dict[str, str]
    """What ``tracecraft replay`` prints of each."""
    changes: list[Change]


def changes(dsn: str, project: str) -> list[Change]:
    """What happened to tasks, in log order, out of PostgreSQL."""
    with psycopg.connect(dsn) as connection:
        return [_change(str(key), body) for key, body in connection.execute(_CHANGES, [project])]


def _change(task: str, body: dict[str, Any]) -> Change:
    return Change(task, body.get("state", "open"), body.get("owner"), (body.get("handoff") or {}).get("note"))


def check(seen: Evidence) -> list[Fact]:
    """Each fact with whether it holds."""
    return [
        _side_by_side(seen),
        _announced(seen),
        _heard(seen, READER, TO_READER, WRITER, "tool_result"),
        _heard(seen, WRITER, TO_WRITER, READER, "function_call_output"),
        _refused(seen),
        _asked_to_settle(seen),
        _taken_over(seen),
        _statuses(seen),
        _tokens(seen),
        _replayed(seen),
        _mended(seen),
    ]


def _side_by_side(seen: Evidence) -> Fact:
    """At the moment of the reader's claim the writer held another task."""
    held: dict[str, str | None] = {}
    for change in seen.changes:
        held[change.task] = change.owner if change.state == "claimed" else None
        if (change.task, change.state, change.owner) == ("ledger.amounts", "claimed", READER):
            break
    found = (held.get("ledger.amounts"), held.get("ledger.report"))
    return found == (READER, WRITER), "at the same time, reader held ledger.amounts and writer held ledger.report"


def _announced(seen: Evidence) -> Fact:
    """A hook may speak in the system's name, so it has no word of a peer: the tool gives the words, later."""
    read = [text for _, text in seen.model.read(READER)]
    announced = [at for at, text in enumerate(read) if f"1 unread message for you from {WRITER}" in text]
    given = [at for at, text in enumerate(read) if TO_READER in text]
    good = bool(announced and given) and announced[0] < given[0] and not set(announced) & set(given)
    return good, "a hook told reader of writer's message, without a word of it, before reader's tool gave it the words"


def _heard(seen: Evidence, hearer: str, words: str, sender: str, slot: str) -> Fact:
    """A peer's words stand behind its name, where results of tools stand: never where the system or the user speaks."""
    read = [(where, text) for where, text in seen.model.read(hearer) if words in text]
    named = all(f'"sender":"{sender}"' in text[: text.index(words)] for _, text in read)
    found = sorted({where for where, _ in read})
    where = ", ".join(found) or "nothing at all"
    return found == [
        slot
    ] and named, f"what a peer wrote to {hearer} reached its model under the peer's name, as {where}"


def _refused(seen: Evidence) -> Fact:
    path = seen.repository.trees["amounts"] / "ledger" / "report.py"
    why = f"{path} is reserved by the agent writer (ledger/report.py"
    told = [text for slot, text in seen.model.read(READER) if slot == "tool_result" and why in text]
    whom = bool(told) and "Ask writer ('tracecraft send writer TEXT')" in told[0]
    unchanged = "repr(" not in seen.repository.git("log", "--patch", "amounts") and "repr(" not in path.read_text()
    return whom and unchanged, "reader's edit of the file that writer holds was denied, with the reason and whom to ask"


def _asked_to_settle(seen: Evidence) -> Fact:
    asked = seen.model.slots(READER, "Before you stop: you still hold ledger.amounts")
    return asked >= {"user"}, "reader wanted to stop with its task open and was asked to settle it"


def _taken_over(seen: Evidence) -> Fact:
    report = [change for change in seen.changes if change.task == "ledger.report"]
    told = [astuple(change)[1:] for change in report if change.state != "open" or change.note]
    wanted = [
        ("claimed", WRITER, None),
        ("open", None, f"given back: {WRITER} was killed"),
        ("claimed", RELIEF),
        ("done", RELIEF),
    ]
    good = [change[: len(want)] for change, want in zip(told, wanted, strict=False)] == wanted and len(told) == 4
    return good, "ledger.report was given back when writer was killed, and relief took it over and finished it"


def _statuses(seen: Evidence) -> Fact:
    found = {name: run.status for name, run in sorted(seen.runs.items())}
    broken = [run.run for run in seen.runs.values() if not seen.session.runs.verify(run.run).complete]
    good = found == {READER: "finished", RELIEF: "finished", WRITER: "killed"} and not broken
    return good, "a run for each, complete: " + ", ".join(f"{name} {status}" for name, status in found.items())


def _tokens(seen: Evidence) -> Fact:
    recorded = {name: _total(run) for name, run in sorted(seen.runs.items())}
    truth = {name: seen.model.tokens(name) for name in recorded}
    return recorded == truth, f"the runs have the tokens that the model counted: {recorded}"


def _total(run: RunRow) -> int:
    tokens = run.tokens
    return tokens.input + tokens.cache_read + tokens.cache_write + tokens.output + tokens.reasoning


def _replayed(seen: Evidence) -> Fact:
    wanted = {
        READER: (f"{READER}  task ledger.amounts claimed", f"to {WRITER}: {TO_WRITER[:20]}", "! fails in Edit"),
        WRITER: (f"{WRITER}  task ledger.report claimed", f"to {READER}: {TO_READER[:20]}", "! run killed"),
        RELIEF: (f"given back: {WRITER} was killed", f"{RELIEF}  task ledger.report claimed", "run finished"),
    }
    missing = [f"{name}: {words}" for name, all_ in wanted.items() for words in all_ if words not in seen.replays[name]]
    shown = "the replays show the claims, the messages, the denied edit, the kill and the takeover"
    return not missing, shown + (f", but not {missing}" if missing else "")


def _mended(seen: Evidence) -> Fact:
    seen.repository.git("merge", "--quiet", "--ff-only", "report")
    return seen.repository.tests_pass(), "what they did together is on main, and the tests of the ledger pass"
