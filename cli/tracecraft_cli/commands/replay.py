"""``tracecraft replay``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracecraft_cli.options import Common, common
from tracecraft_cli.output import interactive
from tracecraft_cli.runner import guard, run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo
    from tracecraft_cli.replay.printed import Choice
    from tracecraft_cli.replay.tape import Source

KINDS = (
    *("run", "agent", "step", "data", "usage", "metric", "param", "tag"),
    *("artifact", "log", "message", "receipt", "memory", "task", "other"),
)


@click.command()
@click.argument("what", metavar="ID|FILE.tcb")
@click.option("--print", "printed", is_flag=True, help="A line a moment; by itself where the output is no terminal.")
@click.option("--of", "agents", multiple=True, metavar="AGENT", help="Only moments of this agent; repeatable.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="Only such moments; repeatable.")
@click.option("--errors", is_flag=True, help="Only what went wrong.")
@click.option("--at", metavar="SEQ|TIME|+OFFSET|STEP-ID", help="Print memory, tasks, mailboxes and steps as they were.")
@click.option("--diff", "other", metavar="ID2|FILE2", help="Print where another run first did something else.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write a page.")
@click.option("--to-bus", is_flag=True, help="Publish it again under tc.PROJECT-replay.…, for any NATS client.")
@click.option("--speed", type=click.FloatRange(min=0), metavar="N", help="Of --to-bus: 10 times as fast; 0: at once.")
@common
def command(
    common: Common,
    what: str,
    printed: bool,
    agents: tuple[str, ...],
    kinds: tuple[str, ...],
    errors: bool,
    at: str | None,
    other: str | None,
    html: Path | None,
    to_bus: bool,
    speed: float | None,
) -> None:
    """Step through what happened in a run: on a screen, in lines, as it was at one place, or on a page of its own.

    A run is named by its id, by the end of it, or by the file of its bundle, which needs no server. Keys of the
    screen: → ← next and previous, n p of the same agent, e next error, / search, g go to, space play, s state, q quit.

    Examples: tracecraft replay k3x9qa; tracecraft replay k3x9qa --at 1200; tracecraft replay run.tcb --html run.html
    """
    from tracecraft_cli.replay.printed import Choice

    choice = Choice(frozenset(agents), frozenset(kinds), errors)
    lines = printed or common.as_json or not interactive() or choice != Choice()

    async def work(session: AsyncSession | None) -> None:
        from tracecraft_cli.replay import doing

        source = await _open(session, what)
        try:
            if at is not None:
                await doing.state(common.as_json, source, at)
            elif other is not None:
                await doing.diff(common.as_json, source, await _open(session, other))
            elif html is not None:
                await doing.write_page(common.as_json, source, html)
            elif to_bus:
                assert session is not None
                await doing.publish(common.as_json, source, session, 1.0 if speed is None else speed)
            elif lines:
                await doing.print_moments(common.as_json, source, choice)
            else:
                await doing.show(source)
        finally:
            await source.close()

    guard(common.as_json, lambda: _check(at, other, html, to_bus, speed, choice))
    _run(common, [what, *([other] if other else [])], to_bus, work)


def _check(
    at: str | None, other: str | None, html: Path | None, to_bus: bool, speed: float | None, choice: Choice
) -> None:
    from tracecraft_cli.replay import where
    from tracecraft_cli.replay.printed import Choice
    from tracecraft_core.errors import UsageError

    asked = [
        name
        for name, given in (("--at", at), ("--diff", other), ("--html", html), ("--to-bus", to_bus))
        if given is not None and given is not False
    ]
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked)} are two things: ask for one")
    if speed is not None and not to_bus:
        raise UsageError("--speed is of --to-bus; on the screen + and - change the speed")
    if asked and choice != Choice():
        raise UsageError(f"--of, --kind and --errors choose what is printed, {asked[0]} takes everything")
    if at is not None:
        where.parse(at)


def _run(
    common: Common, names: list[str], to_bus: bool, work: Callable[[AsyncSession | None], Awaitable[None]]
) -> None:
    """With a session, unless all that is read are files."""
    import asyncio

    from tracecraft_cli.replay.sources import is_file

    async def alone() -> None:
        await work(None)

    async def connected(session: AsyncSession, memo: Memo) -> None:
        await work(session)

    if to_bus or not all(is_file(name) for name in names):
        run(common, connected, acts=False)
    else:
        guard(common.as_json, lambda: asyncio.run(alone()))


async def _open(session: AsyncSession | None, what: str) -> Source:
    from tracecraft_cli.replay.sources import is_file, open_file, open_run

    if is_file(what):
        return open_file(Path(what))
    assert session is not None
    return await open_run(session.context, what)
