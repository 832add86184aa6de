"""Values that a user gives: on the command line, or for '-' on standard input; JSON, or text."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from tracecraft_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping


def read_value(value: str, what: str = "VALUE") -> str:
    """A value from the command line, or for '-' from standard input, without the newline that ends it.

    `memory get` adds that newline again, so a text file comes out as it went in. Raises `UsageError` when it is not
    UTF-8.
    """
    try:
        if value == "-":
            return sys.stdin.buffer.read().decode("utf-8").removesuffix("\n")
        value.encode("utf-8")
    except UnicodeError:
        raise UsageError(f"{what} is not UTF-8 text: encode it first, for example with base64") from None
    return value


def parse_value(value: str, text: bool = False) -> Any:
    """What is stored for a value: that JSON, digit by digit, if it is JSON and ``text`` was not asked for; else text.

    Raises `UsageError` for JSON that is nested too deep.
    """
    if text:
        return value
    import msgspec

    try:
        msgspec.json.decode(value)
    except (msgspec.MsgspecError, UnicodeError):
        return value
    except RecursionError:
        raise UsageError("VALUE is nested too deep: flatten it, or store it as a string with --text") from None
    return msgspec.Raw(value.strip().encode())  # not by way of Python's numbers, which change some


def parse_json(value: str, what: str, example: str) -> Any:
    """A value that must be JSON. Raises `UsageError` that shows an ``example``."""
    import msgspec

    try:
        return msgspec.json.decode(value)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise UsageError(f"{what} is not JSON ({error}); for example {example}") from None


class DashedWords(click.Command):
    """A command whose words may begin with a dash: '-5', '- a list item'. Options begin with a letter."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, with those words hidden from the option parser."""
        valued = {name for option in self._options() if not option.is_flag for name in option.opts}
        before = ["", *args]
        hidden = [_hide(word) if last not in valued else word for last, word in zip(before, args, strict=False)]
        rest = super().parse_args(ctx, hidden)
        ctx.params |= _shown(ctx.params)
        return rest

    def _options(self) -> list[click.Option]:
        return [parameter for parameter in self.params if isinstance(parameter, click.Option)]


_HIDDEN = "\0"


def _hide(word: str) -> str:
    """A word that the option parser takes for a word: no argument of a process can hold a NUL."""
    dashed = len(word) > 1 and word[0] == "-" and not (word[1].isalpha() or word[1] == "-")
    return _HIDDEN + word if dashed else word


def _shown(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.removeprefix(_HIDDEN) for name, value in params.items() if isinstance(value, str)}
