"""Reading the inbox once: fetch, print, and only then acknowledge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tracecraft_cli.commands.inbox import digest
from tracecraft_cli.letters import as_json, shown
from tracecraft_cli.output import Unwritable, emit, note

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tracecraft import AsyncSession, InboxMessage

LIMIT: Final = 50
"""Messages that are shown when nobody says how many."""
ALL: Final = 10_000
"""More than a mailbox hands out unacknowledged."""
_AT_ONCE: Final = 256


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of the inbox is to be shown, and how."""

    limit: int | None = None
    sender: str | None = None
    budget: int | None = None
    peek: bool = False


async def read(session: AsyncSession, json: bool, wanted: Wanted) -> None:
    """Print what waits and acknowledge what was printed; killed in between, it is delivered again."""
    from tracecraft import timeline

    fetched = await _fetch(session, wanted)
    now = await timeline.server_time(session.context.bus)
    mine = [message for message in fetched if wanted.sender in (None, message.sender)]
    if wanted.budget:
        chosen = digest.newest(mine, wanted.budget, lambda message: _size(message, now, json))
    else:
        chosen = digest.Digest(tuple(mine[: wanted.limit or LIMIT]), None, ())
    try:
        _print(chosen, now, json, wanted.budget or 0)
    except Unwritable:
        await each(fetched, lambda message: session.mail.unread(message))
        raise
    behind, elsewhere = await _others(session, fetched, exhausted=len(fetched) < _asked(wanted))
    kept = [message for message in fetched if wanted.peek or message.id not in chosen.ids]
    await each(kept, lambda message: session.mail.unread(message, shown=wanted.peek and message.id in chosen.ids))
    await acknowledge(session, [] if wanted.peek else chosen.whole)
    waiting = len(mine) - len(chosen.whole) - len(chosen.rest) - (chosen.cut is not None) + behind
    _tell(bool(mine), waiting, elsewhere, wanted.peek)


async def _fetch(session: AsyncSession, wanted: Wanted) -> list[InboxMessage]:
    """The messages to choose from, oldest first."""
    return await session.mail.inbox(limit=_asked(wanted))


def _asked(wanted: Wanted) -> int:
    """How many messages to fetch: all of them where the choice depends on all."""
    everything = wanted.budget is not None or wanted.sender is not None
    return ALL if everything else wanted.limit or LIMIT


def _size(message: InboxMessage, now: str, json: bool) -> int:
    """Characters that a message takes where it is printed."""
    if json:
        import json as encoder

        return len(encoder.dumps(as_json(message), ensure_ascii=False)) + 2
    return len(shown(message, now)) + 1


def _print(chosen: digest.Digest, now: str, json: bool, budget: int) -> None:
    messages = [*chosen.whole, *([chosen.cut] if chosen.cut else [])]
    result = {"messages": [as_json(message) for message in messages], "unread": list(chosen.unread)}
    lines = [shown(message, now) for message in messages]
    if chosen.rest:
        lines.append(digest.rest_line(chosen.rest, budget))
    emit(json, result, "\n".join(lines))


async def _others(session: AsyncSession, fetched: Sequence[InboxMessage], *, exhausted: bool) -> tuple[int, int]:
    """How many messages wait behind what was fetched, and how many another process is reading.

    The server counts what was put back among those that are being read, but hands it out first: only when it had
    nothing more to hand out, what it still counts belongs to another process.
    """
    unread, in_flight = await session.mail.pending()
    not_ours = max(0, in_flight - len(fetched))
    return (unread, not_ours) if exhausted else (unread + not_ours, 0)


async def acknowledge(session: AsyncSession, messages: Sequence[InboxMessage]) -> None:
    """Acknowledge messages, and say so when the server may not have heard it."""
    unheard: list[str] = []

    async def ack(message: InboxMessage) -> None:
        if not await session.mail.ack(message):
            unheard.append(f"#{message.id}")

    await each(messages, ack)
    if unheard:
        note(f"the server did not confirm that {', '.join(unheard)} are read: they may come again")


async def each(messages: Sequence[InboxMessage], verb: Callable[[InboxMessage], Awaitable[None]]) -> None:
    """Do something with every message, some at a time."""
    import asyncio

    for start in range(0, len(messages), _AT_ONCE):
        await asyncio.gather(*(verb(message) for message in messages[start : start + _AT_ONCE]))


def _tell(shown_any: bool, waiting: int, elsewhere: int, peek: bool) -> None:
    notes = [] if shown_any else ["no new messages"]
    if waiting > 0:
        notes.append(f"{waiting} more wait: {'raise --limit, or leave out --peek' if peek else 'run it again'}")
    if elsewhere:
        notes.append(f"another process of this agent is reading {elsewhere}: what it does not acknowledge comes again")
    if notes:
        note("; ".join(notes))
