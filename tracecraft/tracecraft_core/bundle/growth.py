"""Makes a skeleton while the entries of a run go by; a step takes about 250 bytes of memory meanwhile."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import msgspec

from tracecraft_core import run_events
from tracecraft_core.bundle.skeleton import AgentMark, MessageColumns, Skeleton, StepColumns
from tracecraft_core.facts import microseconds

if TYPE_CHECKING:
    from tracecraft_core.facts import Fact

_STATUS = {"ok": 1, "error": 2}


class SkeletonGrowth:
    """Takes facts in the order of the log; `done` gives the skeleton."""

    def __init__(self) -> None:
        self._names: dict[str, int] = {}
        self._agents: dict[tuple[str, str], AgentMark] = {}
        self._ids = bytearray()
        self._lengths = bytearray()
        self._columns = {name: array("q") for name in StepColumns.__struct_fields__ if name != "id"}
        self._rows: dict[tuple[str, str], int] = {}
        self._messages = {name: array("q") for name in MessageColumns.__struct_fields__}

    def take(self, fact: Fact) -> None:
        """Add what an entry says."""
        body = fact.body
        if isinstance(body, run_events.StepStarted):
            self._step(fact, body, body.time)
        elif isinstance(body, run_events.StepEnded):
            self._end(fact, body)
        elif isinstance(body, (run_events.AgentStarted, run_events.AgentEnded)):
            self._agent(fact, body)
        elif fact.family in ("msg", "all") and fact.tokens:
            self._message(fact)

    def done(self) -> Skeleton:
        """The skeleton."""
        columns = {name: column.tolist() for name, column in self._columns.items()}
        ids, at = list[str](), 0
        for length in self._lengths:
            ids.append(self._ids[at : at + length].decode())
            at += length
        return Skeleton(
            names=list(self._names),
            agents=list(self._agents.values()),
            steps=StepColumns(id=ids, **columns),
            messages=MessageColumns(**{name: column.tolist() for name, column in self._messages.items()}),
        )

    def _name(self, text: str | None) -> int:
        return -1 if text is None else self._names.setdefault(text, len(self._names))

    def _step(self, fact: Fact, body: run_events.StepStarted | run_events.StepEnded, started: int) -> int | None:
        """The row of a step that is new here; ``None`` for a repeat, and for an id that no step has."""
        id_ = body.step.encode()
        if (fact.run, body.step) in self._rows or not 0 < len(id_) < 256:
            return None
        row = self._rows[fact.run, body.step] = len(self._lengths)
        self._lengths.append(len(id_))
        self._ids += id_
        values = {
            "run": self._name(fact.run),
            "agent": self._name(fact.tokens[1]),
            "name": self._name(body.name),
            "kind": self._name(body.kind),
            "task": self._name(body.task),
            "parent": -1 if body.parent is None else self._rows.get((fact.run, body.parent), -1),
            "status": 0,
            "first_seq": fact.entry.seq,
            "last_seq": 0,
            "started": started,
            "duration": -1,
        }
        for name, value in values.items():
            self._columns[name].append(value)
        return row

    def _end(self, fact: Fact, body: run_events.StepEnded) -> None:
        row = self._rows.get((fact.run, body.step))
        if row is None:
            row = self._step(fact, body, body.time - body.duration)
        if row is None or self._columns["last_seq"][row]:
            return
        self._columns["status"][row] = _STATUS[body.status]
        self._columns["last_seq"][row] = fact.entry.seq
        self._columns["duration"][row] = max(0, body.duration)

    def _agent(self, fact: Fact, body: run_events.AgentStarted | run_events.AgentEnded) -> None:
        known = self._agents.get((fact.run, fact.tokens[1]))
        now = microseconds(fact.entry.time)
        if known is None:
            known = AgentMark(agent=fact.tokens[1], run=fact.run, first_seq=fact.entry.seq, started=now)
        if isinstance(body, run_events.AgentStarted):
            known = msgspec.structs.replace(known, model=body.model or known.model, role=body.role or known.role)
        else:
            known = msgspec.structs.replace(known, ended=now, status=body.status)
        self._agents[fact.run, fact.tokens[1]] = known

    def _message(self, fact: Fact) -> None:
        data = fact.entry.body
        found = msgspec.json.decode(data) if isinstance(data, msgspec.Raw) else data
        kind = found.get("kind") if isinstance(found, dict) else None
        values = {
            "seq": fact.entry.seq,
            "time": microseconds(fact.entry.time),
            "sender": self._name(fact.tokens[-1]),
            "recipient": self._name(fact.tokens[0]) if fact.family == "msg" else -1,
            "kind": self._name(kind if isinstance(kind, str) else "note"),
        }
        for name, value in values.items():
            self._messages[name].append(value)
