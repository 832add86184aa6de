"""``tracecraft runs``: lists runs, and its sub-commands look into them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import click

from tracecraft_cli.lazy import LazyGroup
from tracecraft_cli.options import Common, Whole, common
from tracecraft_cli.runner import guard, run

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo

TABLE: Final = {
    "inspect": "Everything about a run; follow one that is running.",
    "compare": "Runs side by side: parameters, metrics, curves.",
    "export": "Write a run into one file, with everything that belongs to it.",
    "import": "Take in a run that was exported elsewhere.",
    "verify": "Prove that everything of a run is there, once and undamaged.",
    "delete": "Forget runs and free what they alone held.",
}

_FILTER: Final = "tracecraft.filter"
_RUN: Final = re.compile(r"(?=.*[\dA-Z_])[\w-]+|[a-hjkmnp-z]{6}")
"""A word that is no filter and no command, but may be a run or the end of one (`ids.run`)."""


class _Filtered(LazyGroup):
    """A group that takes a filter where no sub-command is named; several words are one filter."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the filter out of the arguments."""
        words = self._places(args)
        first = args[words[0]] if words else ""
        if len(words) == 1 and first not in self._table and _RUN.fullmatch(first):
            ctx.fail(f"{first!r} is no filter; a run is shown by 'tracecraft runs inspect {first}'")
        if words and first not in self._table and not re.fullmatch(r"[a-z-]+", first):  # a word alone is no filter
            ctx.meta[_FILTER] = " ".join(args[place] for place in words)
            args = [word for place, word in enumerate(args) if place not in words and word != "--"]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Show the filter."""
        return ["[OPTIONS] [FILTER | COMMAND [ARGS]...]"]

    def _places(self, args: list[str]) -> list[int]:
        """Where the words are that are neither options nor their values."""
        options = [parameter for parameter in self.params if isinstance(parameter, click.Option)]
        valued = {name for option in options if not option.is_flag for name in option.opts}
        return [
            place
            for place, word in enumerate(args)
            if not re.match("-(?:[A-Za-z]|-)", word) and (place == 0 or args[place - 1] not in valued)
        ]


@click.group(cls=_Filtered, package="tracecraft_cli.commands.runs", table=TABLE, invoke_without_command=True)
@click.option("--sort", default="-started", metavar="KEY", help="Order; with - down.  [default: -started]")
@click.option("--limit", type=Whole(min=1), default=20, show_default=True, metavar="N", help="At most N runs.")
@click.option("--columns", metavar="C,C", help="What is shown: run,name,params.lr,metrics.loss,cost, ...")
@common
def command(common: Common, sort: str, limit: int, columns: str | None) -> None:
    """List runs, the newest first; with FILTER only those for which it holds.

    A filter compares metrics.KEY, params.KEY, tags.KEY, name, status, agent, started, cost, steps and others with
    numbers and "texts", joined by and, or, not (docs/reference/filters.md). --sort takes started, ended, name, cost,
    took, metrics.KEY and params.KEY.

    Example: tracecraft runs 'metrics.loss < 0.3 and tags.team = "a"' --sort metrics.loss --limit 5
    """
    context = click.get_current_context()
    if context.invoked_subcommand is not None:
        context.find_root().obj = common  # options before the sub-command's name count for it too
        return
    filter_: str = context.meta.get(_FILTER, "")

    async def work(session: AsyncSession, memo: Memo) -> None:
        from tracecraft_cli.commands.runs import listing

        await listing.show(session, common.as_json, filter_, sort, limit, columns)

    guard(common.as_json, lambda: _check(columns))
    run(common, work, acts=False)


def _check(columns: str | None) -> None:
    from tracecraft_cli.runs_view import listing

    listing.check(columns)
