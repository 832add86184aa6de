"""The outermost command: wrong usage is told as JSON too, and output that fails in one line."""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from click.exceptions import NoArgsIsHelpError

from tracecraft_cli import output
from tracecraft_cli.lazy import LazyGroup

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Entry(LazyGroup):
    """A lazy group whose wrong usage is the one documented shape under ``--json``, wherever the flag stands."""

    _as_json = False

    def main(self, args: Sequence[str] | None = None, *more: Any, **extra: Any) -> Any:
        """Run a command line; a hook at once, for nothing in the environment may make it fail."""
        if (sys.argv[1:] if args is None else list(args)) in (["hook"], ["hook", "--json"]):
            from tracecraft_cli import hook

            hook.main()
        return super().main(args, *more, **extra)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse our own options."""
        self._as_json = wants_json(args)
        with self._told():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Parse and run the command."""
        with self._told():
            return super().invoke(ctx)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except click.UsageError as error:
            if self._as_json:
                empty = isinstance(error, NoArgsIsHelpError)  # its message is the whole help
                message = "Missing command." if empty else error.format_message()
                output.fail_json({"code": error.exit_code, "type": "UsageError", "message": message})
            raise
        except OSError as error:
            if isinstance(error, BrokenPipeError) or not _printing(error):
                raise
            output.give_up()  # help, which click prints by itself
            output.note(f"tracecraft: {output.Unwritable(error.strerror)}")
            raise click.exceptions.Exit(1) from None


def _printing(error: OSError) -> bool:
    """Whether click failed to print: the error comes from the very function."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return frames[-1].f_code is click.echo.__code__


def wants_json(args: Sequence[str]) -> bool:
    """Whether ``--json`` stands among these words, or TRACECRAFT_JSON is set; the parser cannot say where it failed."""
    ours = args[: args.index("--")] if "--" in args else args
    if "--json" in ours:
        return True
    try:
        return bool(click.BOOL.convert(os.environ.get("TRACECRAFT_JSON") or "0", None, None))
    except click.UsageError:
        return False
