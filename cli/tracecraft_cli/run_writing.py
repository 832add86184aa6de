"""What commands that write into a run have in common: which run, who writes, and what is said when no bus is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from tracecraft_cli.output import emit, note
from tracecraft_cli.runner import run as run_command

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo
    from tracecraft_cli.options import Common
    from tracecraft_cli.run_book import Event, Written
    from tracecraft_core.bus import Bus
    from tracecraft_core.errors import BusUnreachable
    from tracecraft_core.settings import Settings

_R = TypeVar("_R")


def run_option(function: Callable[..., _R]) -> Callable[..., _R]:
    """``--run``, which run a command is for."""
    text = "The run, if it is not the one that is current in this folder. [env: TRACECRAFT_RUN]"
    return click.option("--run", "run_id", metavar="ID", help=text, allow_from_autoenv=False)(function)


def write(common: Common, run_id: str | None, make: Callable[[], Sequence[Event]], result: dict[str, Any]) -> None:
    """Write events into the run that is meant, and print ``result`` with the run and whether the bus has them."""

    async def work(session: AsyncSession, memo: Memo) -> None:
        await enter(common, session.settings, session.context.bus, run_id, make(), result)

    async def away(settings: Settings, error: BusUnreachable) -> None:
        await enter(common, settings, None, run_id, make(), result)

    run_command(common, work, away=away)


async def enter(
    common: Common,
    settings: Settings,
    bus: Bus | None,
    run_id: str | None,
    events: Sequence[Event],
    result: dict[str, Any],
    text: str | None = None,
) -> None:
    """The same, in a session; for people ``text`` is printed."""
    from tracecraft_cli import run_notes
    from tracecraft_cli.current_run import CurrentRun
    from tracecraft_cli.run_book import RunBook

    run = CurrentRun(settings).need(run_id)
    written = await RunBook.of(settings, run).write(bus, events, first=run_notes.joined())
    tell(written)
    emit(common.as_json, {"run": run} | result | {"delivered": not written.waiting}, text)


def tell(written: Written) -> None:
    """Say that events wait, and for what."""
    if written.waiting:
        note(
            f"tracecraft: {written.reason}: {written.waiting} event{'s'[: written.waiting != 1]} kept on this machine; "
            "your next 'tracecraft run' command for this run delivers them, or 'tracecraft spool flush'"
        )


async def leave_and_end(settings: Settings, bus: Bus | None, run: str, end: Event) -> Written:
    """End a run: the other agents that wrote into it by commands on this machine have written all that they will."""
    from tracecraft_cli import run_notes
    from tracecraft_cli.run_book import RunBook, Written, books

    waiting = 0
    for book in list(books(settings, run)):
        if book.agent != settings.agent and book.begun:
            waiting += (await book.write(bus, [run_notes.left()], first=run_notes.joined(), last=True)).waiting
    written = await RunBook.of(settings, run).write(bus, [end], first=run_notes.joined(), last=True)
    return Written(waiting + written.waiting, written.reason)
