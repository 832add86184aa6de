"""``state.at``: memory, tasks, mailboxes and last steps as they were."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tracecraft_bridge.artifacts.blobs import Blobs
from tracecraft_bridge.artifacts.errors import ObjectMissing
from tracecraft_bridge.bundles import spans
from tracecraft_bridge.bundles.checkpoint import state
from tracecraft_bridge.bundles.extent import extent
from tracecraft_bridge.query import runs
from tracecraft_bridge.query.pages import ROWS_BYTES, decode_cursor, encode_cursor
from tracecraft_bridge.query.refusal import bad_question, conflict, not_found
from tracecraft_core.errors import Damaged, UsageError
from tracecraft_core.queries import State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracecraft_bridge.bundles.extent import Extent
    from tracecraft_bridge.bundles.spans import Epoch
    from tracecraft_bridge.database import Connection
    from tracecraft_bridge.query.asked import Asked
    from tracecraft_core.queries import StateQuestion

EXAMPLE: Final = "exactly one of seq (1200), time (2026-11-22T20:00:00Z) and step (its id, with its run)"


async def state_at(asked: Asked, question: StateQuestion) -> State:
    """``state.at``."""
    if sum(each is not None for each in (question.seq, question.time, question.step)) != 1:
        raise bad_question("which moment?", EXAMPLE)
    async with asked.pool.snapshot() as connection:
        about = await _run(connection, asked.project, question.run)
        epoch = await _epoch(connection, question.epoch, about)
        if epoch is None:
            return _page(State(seq=question.seq or 0, time=None, memory={}, tasks={}, mailboxes={}, steps={}), None)
        seq = await _seq(connection, asked.project, question, epoch, about)
        with refusals():
            found = await state(
                connection, Blobs(asked.store), asked.project, epoch, seq, None if about is None else about.runs
            )
    return _page(found, question.cursor)


@contextmanager
def refusals() -> Iterator[None]:
    """Errors of bundles and their store as refusals."""
    try:
        yield
    except UsageError as error:
        raise bad_question(str(error)) from None
    except Damaged as error:
        raise conflict(str(error)) from None
    except ObjectMissing as error:
        raise not_found("content", error.name, "the artifact store has lost it") from None


async def _run(connection: Connection, project: str, given: str | None) -> Extent | None:
    if given is None:
        return None
    return await extent(connection, project, await runs.resolve(connection, project, given))


async def _epoch(connection: Connection, given: int | None, about: Extent | None) -> Epoch | None:
    if given is None:
        if about is not None:
            return about.epoch
        now = await spans.current(connection)
        return None if now is None else await spans.load(connection, now)
    found = await spans.load(connection, given)
    if found is None:
        raise not_found("epoch", str(given))
    if found.imported and about is None:
        raise bad_question(f"epoch {given} is an imported run", "ask with its run")
    return found


async def _seq(
    connection: Connection, project: str, question: StateQuestion, epoch: Epoch, about: Extent | None
) -> int:
    if question.seq is not None:
        if not 0 <= question.seq < 2**63:
            raise bad_question(f"seq is {question.seq}", EXAMPLE)
        return question.seq
    if question.time is not None:
        return await _seq_at(connection, epoch, _moment(question.time), about)
    if about is None:
        raise bad_question("a step needs its run", EXAMPLE)
    return await _seq_of_step(connection, project, epoch, about, str(question.step))


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise bad_question(f"{text!r} is no time", EXAMPLE) from None
    if found.tzinfo is None:
        raise bad_question(f"{text!r} has no time zone", "end it with Z for UTC, or with an offset as +01:00")
    return found


async def _seq_at(connection: Connection, epoch: Epoch, time: datetime, about: Extent | None) -> int:
    """The newest sequence of the log at a time; of an imported run, at least the one before its first."""
    rows = epoch.rows(0, 2**63 - 1)
    row = await _one(connection, rows, "l.time <= %s ORDER BY l.time DESC, l.seq DESC LIMIT 1", time)
    lowest = about.first_seq - 1 if about is not None and epoch.imported else 0
    return max(row or 0, lowest)


async def _seq_of_step(connection: Connection, project: str, epoch: Epoch, about: Extent, step: str) -> int:
    rows = epoch.rows(about.first_seq, about.last_seq)
    where = (
        "l.project = %s AND l.family = 'run' AND l.run = ANY(%s) AND l.event IN ('step.started', 'step.ended') "
        "AND l.body->>'step' = %s ORDER BY l.epoch, l.seq LIMIT 1"
    )
    found = await _one(connection, rows, where, project, list(about.runs), step)
    if found is None:
        raise not_found("step", step, f"'tracecraft runs inspect {about.run}' shows the steps")
    return found


async def _one(connection: Connection, rows: Any, where: str, *values: object) -> int | None:
    from psycopg import sql

    query = sql.SQL("SELECT l.seq FROM log l WHERE {} AND " + where).format(rows)
    row = await (await connection.execute(query, values)).fetchone()
    return None if row is None else int(row[0])


def _page(whole: State, cursor: str | None) -> State:
    """As much of a state as fits into a message, from a place on."""
    place = decode_cursor(cursor, int)[0] if cursor is not None else 0
    items = _items(whole)
    page = State(seq=whole.seq, time=whole.time, memory={}, tasks={}, mailboxes={}, steps={})
    size = 0
    for number, (kind, name, value) in enumerate(items[place:], place):
        size += len(msgspec.json.encode((name, value))) + 8
        if size > ROWS_BYTES and number > place:
            return msgspec.structs.replace(page, next=encode_cursor(number))
        _put(page, kind, name, value)
    return page


def _items(whole: State) -> list[tuple[str, str, Any]]:
    items: list[tuple[str, str, Any]] = [("memory", *pair) for pair in sorted(whole.memory.items())]
    items += [("tasks", *pair) for pair in sorted(whole.tasks.items())]
    items += [("steps", *pair) for pair in sorted(whole.steps.items())]
    for agent, mails in sorted(whole.mailboxes.items()):
        items.append(("mailbox", agent, None))
        items += [("mailbox", agent, mail) for mail in mails]
    return items


def _put(page: State, kind: str, name: str, value: Any) -> None:
    if kind == "mailbox":
        page.mailboxes.setdefault(name, []).extend([] if value is None else [value])
    else:
        getattr(page, kind)[name] = value
