"""A program behind ``--``, which a command runs under what it claims."""

from __future__ import annotations

from typing import Any, Final

import click

_BEHIND: Final = "tracecraft.behind_the_dashes"


class WithProgram(click.Command):
    """Keeps what stands behind ``--exec … --`` out of the option parser: it belongs to another program."""

    def __init__(self, *args: Any, example: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._example = example

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Cut the arguments at the ``--`` that follows ``--exec``."""
        if "--" in args and "--exec" not in args[: args.index("--")] and not ctx.resilient_parsing:
            raise click.UsageError(
                "behind '--' stands a program that runs under the claim, did you mean --exec? "
                f"For example: {self._example}",
                ctx,
            )
        if "--" in args:
            cut = args.index("--")
            args, ctx.meta[_BEHIND] = args[:cut], tuple(args[cut + 1 :])
        return super().parse_args(ctx, args)


def program() -> tuple[str, ...] | None:
    """What stands behind the dashes of the command that runs."""
    argv: tuple[str, ...] | None = click.get_current_context().meta.get(_BEHIND)
    return argv
