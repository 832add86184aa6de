"""``tracecraft run exec``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from tracecraft_cli.options import DURATION, Common, common
from tracecraft_cli.output import emit
from tracecraft_cli.runner import guard, run

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft.context import Context
    from tracecraft_cli.held import Memo
    from tracecraft_cli.run_program import Order
    from tracecraft_core.errors import BusUnreachable
    from tracecraft_core.settings import Settings

_BEHIND: Final = "tracecraft.behind_the_dashes"


class _WithProgram(click.Command):
    """Keeps what stands behind ``--`` out of the option parser: it belongs to another program."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Cut the arguments at ``--``."""
        if "--" in args:
            cut = args.index("--")
            args, ctx.meta[_BEHIND] = args[:cut], tuple(args[cut + 1 :])
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Show the program, too."""
        return [*super().collect_usage_pieces(ctx), "-- CMD..."]


@click.command(cls=_WithProgram)
@click.argument("name")
@click.option("--param", "params", multiple=True, metavar="K=V", help="A parameter; V is JSON, or text. Repeatable.")
@click.option("--tag", "tags", multiple=True, metavar="K=V", help="A tag. Repeatable.")
@click.option("--parent", metavar="ID", help="The run inside of which this one is. [env: TRACECRAFT_RUN]")
@click.option("--grace", type=DURATION, default=5.0, help="Time from a signal to SIGKILL for CMD. [default: 5s]")
@common
def command(
    common: Common, name: str, params: tuple[str, ...], tags: tuple[str, ...], parent: str | None, grace: float
) -> None:
    """Run CMD as a run called NAME, and exit as it does.

    Kept are its output (shown as it comes, too), its exit code, its times, and the commit, branch and uncommitted
    changes of this folder. CMD finds TRACECRAFT_RUN and TRACEPARENT in its environment, so that tracecraft commands and
    programs with the SDK in it write into the run. The run ends finished, failed, or killed (by a signal); when this
    process dies, CMD is stopped and the bridge closes the run as crashed. Needs no bus to begin with.

    Example: tracecraft run exec train --param lr=0.001 -- python train.py --epochs 3
    """
    argv: tuple[str, ...] | None = click.get_current_context().meta.get(_BEHIND)
    orders: list[Order] = []
    codes: list[int] = []

    def check() -> None:
        from tracecraft_cli import current_run, pairs
        from tracecraft_cli.run_program import Order
        from tracecraft_core import names
        from tracecraft_core.errors import UsageError

        if not argv:
            raise UsageError("behind '--' stands the program: tracecraft run exec train -- python train.py")
        if not name.strip():
            raise UsageError("NAME is empty; for example 'tracecraft run exec train -- python train.py'")
        outer = names.run(parent) if parent else current_run.from_environment()
        orders.append(Order(name, argv, pairs.params(params), pairs.tags(tags), outer, grace))

    async def work(session: AsyncSession, memo: Memo) -> None:
        await execute(session.settings, session.context)

    async def away(settings: Settings, error: BusUnreachable) -> None:
        await execute(settings, None)

    async def execute(settings: Settings, context: Context | None) -> None:
        from tracecraft_cli.run_program import RunProgram

        ended: dict[str, Any] = await RunProgram(settings, orders[0]).execute(context)
        emit(common.as_json, ended, None)
        codes.append(ended["exit_code"])

    guard(common.as_json, check)
    run(common, work, away=away)
    raise SystemExit(codes[0])
