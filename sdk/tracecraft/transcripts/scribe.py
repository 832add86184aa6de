"""`Scribe`: writes the records of a session into its run, each step once.

A step has the same id whenever it is read, so what the log has already (`Known`) is passed over. All else that is
written may be written twice without harm: labels, who takes part, and usage, which counts once by its request.
"""

from __future__ import annotations

import hashlib
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from tracecraft.recording.logbook import Logbook  # commands import this module when they run
from tracecraft.recording.recorder import Recorder
from tracecraft.transcripts import naming, records, refusal
from tracecraft_core import bodies, ids
from tracecraft_core.errors import InvalidName
from tracecraft_core.names import task as checked_task
from tracecraft_core.run_events import (
    MAX_NAME,
    AgentEnded,
    AgentStarted,
    Failure,
    Origin,
    RunEnded,
    RunStarted,
    StepEnded,
    StepKind,
    StepStarted,
    Tags,
    Usage,
    WriterLeft,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracecraft.recording.flushed import Flushed
    from tracecraft.transcripts.checkpoint import Had, Sheet
    from tracecraft.transcripts.records import Record
    from tracecraft.transcripts.sources import Source
    from tracecraft_core.run_events import EndStatus
    from tracecraft_core.settings import Settings

LONGEST_NAME: Final = 200
"""Characters of a step's name that are kept."""
LONGEST_ERROR: Final = 2_000
"""Characters of an error that are kept."""
UNIQUE: Final = 20
"""Characters from which on the id of a model call is taken for one that no other call in the world has."""
EARLIEST: Final = 946_684_800.0
"""2000-01-01: what claims to be older has no time."""


@dataclass(slots=True)
class Known:
    """What the log has of the run, as the bridge says, or as the checkpoint does."""

    steps: dict[str, Had] = field(default_factory=dict)
    spent: dict[str, list[float]] = field(default_factory=dict)
    """Tokens and cost by model."""


class Scribe:
    """One writer of one run; it begins with the first record."""

    def __init__(
        self,
        settings: Settings,
        source: Source,
        session: str,
        sheet: Sheet,
        known: Known,
        task: Callable[[float], str | None] | None,
    ) -> None:
        self.sheet, self.begun = sheet, 0
        """`begun`: steps that were begun."""
        self._settings, self._source, self._session = settings, source, session
        self._known, self._task = known, task
        self._met: set[str] = set()
        """Steps of `_known` that the transcript has told of whole."""
        self.run = naming.run_id(source, session)
        self.recorder = Recorder(settings, settings.project, self.run, agent=sheet.agent)
        self.recorder.parting = self._parting
        self.recorder.joined = self._parting  # a forked child has nothing to say
        trace = ids.trace(settings.project, self.run)
        self._book = Logbook(settings.project, self.run, sheet.agent, trace, None)
        self._book.open(self.recorder)
        self._begin()

    def _begin(self) -> None:
        sheet, book = self.sheet, self._book
        folder = sheet.cwd.rstrip("/").rpartition("/")[2]
        started = RunStarted(
            name=book.text(f"{self._source} {folder}".strip()),
            time=_us(sheet.started),
            tags=book.tags({"source": self._source, "session": self._session}),
            parent=sheet.inside or (naming.run_id(self._source, sheet.parent) if sheet.parent else None),
            origin=Origin(
                host=socket.gethostname(),
                command=book.text(f"{self._source} {sheet.version}".strip()),
                git_branch=book.text(sheet.branch),
            ),
        )
        book.event(sheet.agent, "started", started)
        self._label()
        self._work_with(sheet.model)

    def _work_with(self, model: str) -> None:
        """The session's own agent takes part, with this model."""
        sheet = self.sheet
        began = AgentStarted(time=_us(sheet.started), model=self._book.text(model) or None, role=self._source)
        self._book.event(sheet.agent, "agent.started", began)

    def know(self, known: Known) -> None:
        """Another answer of what the log has; the transcript is read from its beginning again."""
        self._known = known
        self._met.clear()

    @property
    def ahead(self) -> dict[str, Had]:
        """Steps that the log has and that were not told of: what reads on later must pass over them."""
        return {step: had for step, had in self._known.steps.items() if step not in self._met}

    def _label(self) -> None:
        sheet = self.sheet
        params = {"cwd": sheet.cwd, "branch": sheet.branch, "version": sheet.version, "model": sheet.model}
        if said := {name: value for name, value in params.items() if value}:
            self._book.log_params(sheet.agent, said)
        tags = {"title": sheet.title, "forked_from": sheet.forked_from, "parent_session": sheet.parent}
        if given := {name: value for name, value in tags.items() if value}:
            self._book.event(sheet.agent, "tag", Tags(tags=self._book.tags(given), time=_us(sheet.last)))

    def take(self, record: Record) -> None:
        """Write one record."""
        self.sheet.last = max(self.sheet.last, record.time)
        match record:
            case records.Turn():
                self._turn(record)
            case records.Call():
                self._call(record)
            case records.More():
                self._data(self._agent(record.agent), "step.output", self._id(record.key), record.output, record.time)
            case records.Used():
                self._used(record)
            case records.ToolStarted():
                self._tool_started(record)
            case records.ToolEnded():
                self._tool_ended(record)
            case records.AgentStarted():
                self._agent_started(record)
            case records.AgentEnded():
                self._agent_ended(record.agent, record.time, record.error)
            case records.Noted():
                self._noted(record)
            case records.Spent():
                self._book.log_params(self.sheet.agent, {"reported_cost_usd": record.cost})
            case records.Facts():
                self._facts(record)

    def _facts(self, record: records.Facts) -> None:
        model = self.sheet.model
        if learn(self.sheet, record):
            self._label()
        if self.sheet.model != model:
            self._work_with(self.sheet.model)

    def _turn(self, record: records.Turn) -> None:
        agent, step = self._agent(record.agent), self._id(record.key)
        if self._starts(step):
            name, parent = self._name(record.by), self._parent(record.parent)
            task = self._held(record.time)
            self._started(agent, step, name, "message", record.time, parent, task)
            self._data(agent, "step.input", step, record.text, record.time)
            self._ended(agent, step, name, "message", record.time, record.time, parent, task, None)

    def _call(self, record: records.Call) -> None:
        agent, step = self._agent(record.agent), self._id(record.key)
        if self._starts(step):
            name, parent = self._name(record.model or "model"), self._parent(record.parent)
            task = self._held(record.started)
            self._started(agent, step, name, "llm", record.started, parent, task)
            if record.input:
                self._data(agent, "step.input", step, record.input, record.started)
            self._data(agent, "step.output", step, record.output, record.time)
            self._ended(
                agent, step, name, "llm", record.started, record.time, parent, task, record.error or None, "ModelError"
            )

    def _used(self, record: records.Used) -> None:
        step = None if record.key is None else self._id(record.key)
        if step is not None and self._known.steps.get(step) == "paid":
            return
        said = Usage(
            time=_us(record.time),
            step=step,
            task=self._held(record.time),
            provider=self._book.text(record.provider) or None,
            model=self._book.text(record.model) or None,
            input=record.tokens.input,
            cache_read=record.tokens.cache_read,
            cache_write=record.tokens.cache_write,
            output=record.tokens.output,
            reasoning=record.tokens.reasoning,
            cost=record.cost,
            request=self._request(record.request),
        )
        self._book.event(self._agent(record.agent), "usage", said)

    def _request(self, request: str) -> str:
        """A provider's id is one everywhere, so that a fork of a session pays nothing twice; a short one is not.

        What looks like a secret stays one id too: its digest.
        """
        if self._book.text(request) != request:
            request = hashlib.sha256(request.encode("utf-8", "replace")).hexdigest()
        return (request if len(request) >= UNIQUE else f"{self.run}/{request}")[:MAX_NAME]

    def _tool_started(self, record: records.ToolStarted) -> None:
        agent, step = self._agent(record.agent), self._id(record.key)
        had = self._known.steps.get(step)
        task = self._held(record.time)
        if task is not None:
            self.sheet.tasks[record.key] = task
        if had is None:
            self.begun += 1
            parent = self._parent(record.parent)
            self._started(agent, step, self._name(record.name), record.kind, record.time, parent, task)
        if had in (None, "open"):
            self._data(agent, "step.input", step, record.input, record.time)

    def _tool_ended(self, record: records.ToolEnded) -> None:
        agent, step = self._agent(record.agent), self._id(record.key)
        task = self.sheet.tasks.pop(record.key, None)
        if not self._ends(step):
            return
        self._data(agent, "step.output", step, record.output, record.time)
        name, parent = self._name(record.name), self._parent(record.parent)
        times = (record.started, record.time)
        kind, error = "ToolError", record.error
        if error is not None:
            kind, error = refusal.told(record.name, error)
        self._ended(agent, step, name, record.kind, *times, parent, task, error, kind)

    def _noted(self, record: records.Noted) -> None:
        agent, step = self._agent(record.agent), self._id(record.key)
        if self._starts(step):
            name, task = self._name(record.name), self._held(record.time)
            self._started(agent, step, name, "other", record.time, None, task)
            if record.text:
                self._data(agent, "step.output", step, record.text, record.time)
            times = (record.time, record.time)
            self._ended(agent, step, name, "other", *times, None, task, record.error, "ProviderError")

    def _agent_started(self, record: records.AgentStarted) -> None:
        name = self.sheet.agents.get(record.agent)
        if name is None:
            name = naming.subagent_name(self.sheet.agent, self._book.text(record.role), record.agent)
            self.sheet.agents[record.agent] = name
        self.sheet.running.add(name)
        model, role = self._book.text(record.model) or None, self._book.text(record.role) or None
        began = AgentStarted(time=_us(record.time), model=model, role=role)
        self._book.event(name, "agent.started", began)

    def _agent_ended(self, id: str, time: float, error: str | None) -> None:
        name = self._agent(id)
        self.sheet.running.discard(name)
        failed = None if error is None else self._failure("AgentError", error)
        ended = AgentEnded(time=_us(time), status="error" if failed else "ok", error=failed)
        self._book.event(name, "agent.ended", ended)

    # -- events --------------------------------------------------------------------------------------------------

    def _starts(self, step: str) -> bool:
        """Whether a step that is told whole is new, or was broken off."""
        self.begun += step not in self._known.steps
        return self._ends(step)

    def _ends(self, step: str) -> bool:
        """Whether the end of a step is new."""
        if step in self._known.steps:
            self._met.add(step)
        return self._known.steps.get(step) not in ("ended", "paid")

    def _started(
        self, agent: str, step: str, name: str, kind: StepKind, time: float, parent: str | None, task: str | None
    ) -> None:
        if step not in self._known.steps:
            began = StepStarted(step=step, name=name, time=_us(time), kind=kind, parent=parent, task=task)
            self._book.event(agent, "step.started", began)

    def _data(self, agent: str, event: str, step: str, value: Any, time: float) -> None:
        self._book.data(agent, event, step, value, max(time, 0.0))

    def _ended(
        self,
        agent: str,
        step: str,
        name: str,
        kind: StepKind,
        started: float,
        time: float,
        parent: str | None,
        task: str | None,
        error: str | None,
        type: str = "Error",
    ) -> None:
        said = StepEnded(
            step=step,
            name=name,
            time=_us(time),
            duration=max(0, _us(time) - _us(started)),
            kind=kind,
            parent=parent,
            task=task,
            status="ok" if error is None else "error",
            error=None if error is None else self._failure(type, error),
        )
        self._book.event(agent, "step.ended", said)

    def _failure(self, type: str, text: str) -> Failure:
        return Failure(type=type, message=self._book.text(text)[:LONGEST_ERROR])

    def _id(self, key: str) -> str:
        return naming.step_id(self._source, self._session, key)

    def _parent(self, key: str | None) -> str | None:
        return None if key is None else self._id(key)

    def _agent(self, id: str) -> str:
        if not id:
            return self.sheet.agent
        return self.sheet.agents.get(id) or naming.subagent_name(self.sheet.agent, "", id)

    def _name(self, name: str) -> str:
        return self._book.text(name)[:LONGEST_NAME] or "?"

    def _held(self, time: float) -> str | None:
        task = self._task(time) if self._task is not None else None
        if task is None:
            return None
        try:
            return checked_task(task)
        except InvalidName:
            return None

    # -- the end -------------------------------------------------------------------------------------------------

    async def end(self, status: EndStatus, error: str | None, patience: float) -> Flushed:
        """End the run at the time of its last record."""
        sheet = self.sheet
        for name in sorted(sheet.running):
            self._book.event(name, "agent.ended", AgentEnded(time=_us(sheet.last)))
        sheet.running.clear()
        failed = None if error is None else self._failure("SessionError", error)
        ok: Literal["ok", "error"] = "ok" if status == "finished" else "error"
        self._book.event(sheet.agent, "agent.ended", AgentEnded(time=_us(sheet.last), status=ok))
        ended = RunEnded(status=status, time=_us(sheet.last), error=failed)
        return await self._close("ended", bodies.encode(ended), patience)

    async def leave(self, patience: float) -> Flushed:
        """Stop writing; the run goes on."""
        _, event, body = self._parting()
        return await self._close(event, body, patience)

    async def _close(self, event: str, body: bytes, patience: float) -> Flushed:
        self._book.end()
        return await self.recorder.close_async((self.sheet.agent, event, body), timeout=patience)

    def _parting(self) -> tuple[str, str, bytes]:
        return self.sheet.agent, "left", bodies.encode(WriterLeft(time=_us(self.sheet.last)))


def learn(sheet: Sheet, facts: records.Facts) -> bool:
    """Keep what a transcript says of its session; whether it was new."""
    changed = False
    for name in ("cwd", "branch", "version", "model", "title", "parent", "forked_from"):
        said = getattr(facts, name)
        if said and said != getattr(sheet, name):
            setattr(sheet, name, said)
            changed = True
    return changed


def _us(time: float) -> int:
    return round(max(time, EARLIEST) * 1_000_000)
