"""``tracecraft run start``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tracecraft_cli.options import Common, common
from tracecraft_cli.output import emit, note
from tracecraft_cli.runner import guard, run

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo
    from tracecraft_core.bus import Bus
    from tracecraft_core.errors import BusUnreachable
    from tracecraft_core.settings import Settings


@click.command()
@click.argument("name")
@click.option("--param", "params", multiple=True, metavar="K=V", help="A parameter; V is JSON, or text. Repeatable.")
@click.option("--tag", "tags", multiple=True, metavar="K=V", help="A tag. Repeatable.")
@click.option(
    "--parent",
    metavar="ID",
    is_flag=False,
    flag_value="",
    help="The run inside of which this one is; without ID the current one.",
)
@common
def command(common: Common, name: str, params: tuple[str, ...], tags: tuple[str, ...], parent: str | None) -> None:
    """Begin a run called NAME and print its id.

    The run is then current for this agent, in this folder and below it: 'run log-metric' and the others write into it,
    and messages, memory and tasks that you write carry its id, until 'run end'; then the one that --parent means is
    current again. TRACECRAFT_RUN wins over that.

    Example: tracecraft run start probe --param lr=0.001 --param layers='[64, 32]' --tag team=vision
    """
    content: dict[str, Any] = {}

    def check() -> None:
        from tracecraft_cli import pairs
        from tracecraft_core import names
        from tracecraft_core.errors import UsageError

        if not name.strip():
            raise UsageError("NAME is empty: say what is tried, for example 'tracecraft run start probe'")
        if parent:
            names.run(parent)
        content.update(params=pairs.params(params), tags=pairs.tags(tags))

    async def work(session: AsyncSession, memo: Memo) -> None:
        await _start(session.settings, session.context.bus)

    async def away(settings: Settings, error: BusUnreachable) -> None:
        await _start(settings, None)

    async def _start(settings: Settings, bus: Bus | None) -> None:
        from tracecraft_cli import current_run, run_notes, run_writing
        from tracecraft_cli.run_book import RunBook
        from tracecraft_core import ids

        current = current_run.CurrentRun(settings)
        inside = current.need(by="with --parent ID") if parent == "" else parent
        run_id = ids.run()
        begin = run_notes.started(name, content["params"], content["tags"], inside)
        run_writing.tell(await RunBook.of(settings, run_id).write(bus, [], first=begin))
        if not current.set(run_id, inside):
            note(f"tracecraft: the run cannot be remembered here: export {current_run.VARIABLE}={run_id}")
        elif current_run.from_environment() is not None:
            note(f"tracecraft: {current_run.VARIABLE} is set and wins: export {current_run.VARIABLE}={run_id}")
        emit(common.as_json, {"run": run_id, "name": name, "parent": inside}, run_id)

    guard(common.as_json, check)
    run(common, work, away=away)
