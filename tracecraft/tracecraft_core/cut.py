"""The state of a project at a sequence of the log: memory, tasks, mailboxes and last steps, from the entries up to it.

The log is one total order, so "the state at n" is what all entries up to n say, no more and no less. Memory and task
changes come into the log from their buckets over two sources, so between these two the log's order may differ by
moments from the order of the writes; of one key it never does (docs/explanation/replay.md). Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tracecraft_core import bodies, run_events, subjects
from tracecraft_core.errors import Malformed, UsageError
from tracecraft_core.facts import fact
from tracecraft_core.queries import LastStep, MailAt, MemoryValue, State, TaskAt

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from tracecraft_core.facts import Fact
    from tracecraft_core.queries import Entry

OVER = frozenset({"acked", "expired"})
"""Receipts after which a message is in no mailbox any more."""


def empty(seq: int = 0) -> State:
    """Nothing at all."""
    return State(seq=seq, time=None, memory={}, tasks={}, mailboxes={}, steps={})


def fold(
    state: State, entries: Iterable[Entry], until: int | None = None, *, runs: Collection[str] | None = None
) -> State:
    """The state after the entries up to ``until``; the given state stays as it is.

    Entries must come in their order and behind ``state.seq``. With ``runs`` only steps of these runs count.
    """
    folding = Folding(state, runs)
    for entry in entries:
        if until is not None and entry.seq > until:
            break
        folding.add(entry)
    return folding.state(until)


def check_range(seq: int, first: int, last: int) -> None:
    """Raise `UsageError` for a sequence outside of a run."""
    if not first <= seq <= last:
        raise UsageError(f"sequence {seq} is outside of the run: it goes from {first} (before it) to {last}")


def together(pages: Iterable[State]) -> State:
    """One state from the pages of an answer; there must be one page at least."""
    first, *rest = pages
    memory, tasks, steps = dict(first.memory), dict(first.tasks), dict(first.steps)
    boxes = {agent: list(mails) for agent, mails in first.mailboxes.items()}
    for page in rest:
        memory |= page.memory
        tasks |= page.tasks
        steps |= page.steps
        for agent, mails in page.mailboxes.items():
            boxes.setdefault(agent, []).extend(mails)
    return State(seq=first.seq, time=first.time, memory=memory, tasks=tasks, mailboxes=boxes, steps=steps)


class Folding:
    """A state that grows; what it was made from is never changed."""

    def __init__(self, state: State, runs: Collection[str] | None = None) -> None:
        self._seq, self._time, self._runs = state.seq, state.time, runs
        self._memory, self._tasks, self._steps = dict(state.memory), dict(state.tasks), dict(state.steps)
        self._mail = {agent: {mail.id: mail for mail in mails} for agent, mails in state.mailboxes.items()}

    def add(self, entry: Entry) -> None:
        """The next entry."""
        known = fact(entry)
        match known.family:
            case "memory" if known.tokens:
                self._change_memory(".".join(known.tokens), entry)
            case "task" if known.tokens:
                self._change_task(".".join(known.tokens), entry)
            case "run" if self._runs is None or known.run in self._runs:
                self._change_steps(known)
            case "run" | "other":
                return
            case _:
                self._change_mail(known)
        self._seq, self._time = entry.seq, entry.time

    def state(self, until: int | None = None) -> State:
        """As it is now; ``until`` is the sequence that was asked for."""
        return State(
            seq=self._seq if until is None else until,
            time=self._time,
            memory=dict(self._memory),
            tasks=dict(self._tasks),
            mailboxes={agent: list(mails.values()) for agent, mails in self._mail.items()},
            steps=dict(self._steps),
        )

    def _change_memory(self, key: str, entry: Entry) -> None:
        if is_deletion(entry):
            self._memory.pop(key, None)
        else:
            self._memory[key] = memory_value(entry)

    def _change_task(self, task: str, entry: Entry) -> None:
        record = body_of(entry)
        if is_deletion(entry) or not isinstance(record, dict):
            self._tasks.pop(task, None)
        else:
            self._tasks[task] = TaskAt(record=record, fence=revision(entry), seq=entry.seq)

    def _change_steps(self, known: Fact) -> None:
        body = known.body
        if isinstance(body, run_events.StepStarted):
            self._steps[known.tokens[1]] = LastStep(
                run=known.run, step=body.step, name=body.name, kind=body.kind, status="open", seq=known.entry.seq
            )
        elif isinstance(body, run_events.StepEnded):
            last = self._steps.get(known.tokens[1])
            if last is not None and (last.run, last.step) == (known.run, body.step):
                self._steps[known.tokens[1]] = msgspec.structs.replace(last, status=body.status)

    def _change_mail(self, known: Fact) -> None:
        match known.family, len(known.tokens):
            case ("msg", 2):
                self._mail.setdefault(known.tokens[0], {})[known.entry.seq] = mail(known.entry, known.tokens[1], False)
            case ("all", 1):
                broadcast = mail(known.entry, known.tokens[0], True)
                for agent, box in self._mail.items():
                    if agent != broadcast.sender:
                        box[broadcast.id] = broadcast
            case ("receipt", 2):
                self._settle(known.tokens[1], known.entry)
            case ("agent", _) if known.event == "joined":
                self._mail.setdefault(known.tokens[0], {})

    def _settle(self, reader: str, entry: Entry) -> None:
        receipt = receipt_of(entry)
        box = self._mail.get(reader, {})
        if receipt is None or receipt.id not in box:
            return
        if receipt.state in OVER:
            del box[receipt.id]
        else:
            box[receipt.id] = msgspec.structs.replace(box[receipt.id], state=receipt.state)


def body_of(entry: Entry) -> Any:
    """The body, decoded; bytes that are no JSON as text; ``None`` when there is none."""
    if isinstance(entry.body, msgspec.Raw):
        return msgspec.json.decode(entry.body)
    if entry.body is None and entry.raw is not None:
        return bodies.value_from_json(raw_bytes(entry))
    return entry.body


def raw_bytes(entry: Entry) -> bytes:
    """The bytes of a body that is no JSON."""
    import base64

    return base64.b64decode(entry.raw or "")


def header(entry: Entry, name: str) -> str | None:
    """A header; of one that repeats, the first."""
    value = entry.headers.get(name)
    if isinstance(value, list):
        value = value[0] if value else None
    return value if isinstance(value, str) else None


def is_deletion(entry: Entry) -> bool:
    """Whether an entry of a bucket stands for "no value"."""
    return subjects.KV_OPERATION in entry.headers or subjects.MARKER_REASON in entry.headers


def revision(entry: Entry) -> int:
    """The revision in its bucket of an entry that came from one; of any other, 0."""
    number = (header(entry, subjects.STREAM_SOURCE) or "").split(" ")[1:2]
    return int(number[0]) if number and number[0].isascii() and number[0].isdigit() else 0


def memory_value(entry: Entry) -> MemoryValue:
    """A memory value as an entry of the log says it."""
    return MemoryValue(
        value=body_of(entry), revision=revision(entry), seq=entry.seq, agent=header(entry, subjects.WRITER)
    )


def mail(entry: Entry, sender: str, everybody: bool) -> MailAt:
    """A message that has just been stored."""
    found = bodies.decode_message(raw_bytes(entry) if entry.raw is not None else msgspec.json.encode(entry.body))
    return MailAt(id=entry.seq, sender=sender, text=found.text, kind=found.kind, state="stored", everybody=everybody)


def receipt_of(entry: Entry) -> bodies.Receipt | None:
    """What a reader says it did with a message; ``None`` when it cannot be understood."""
    try:
        return msgspec.convert(_json(entry), bodies.Receipt)
    except (msgspec.ValidationError, Malformed):
        return None


def _json(entry: Entry) -> Any:
    return msgspec.json.decode(entry.body) if isinstance(entry.body, msgspec.Raw) else entry.body
