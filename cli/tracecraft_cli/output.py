"""What a command prints: results on standard output, everything else on standard error.

With ``--json`` a result is one line ``{"ok": true, "result": …}`` and a failure one line
``{"ok": false, "error": {"code": <exit code>, "type": …, "message": …, …facts}}``; commands that follow something
print a line a result. This is the one documented shape (docs/reference/cli.md).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracecraft_core.errors import TracecraftError


_OBEYED: Final = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
"""What JSON need not escape: eight-bit controls, marks of direction, separators of lines."""


class Unwritable(Exception):
    """Standard output takes no more: its disk is full, for example. A closed pipe is a `BrokenPipeError` instead.

    ``stands`` says what was done all the same.
    """

    def __init__(self, reason: str | None, stands: str = "") -> None:
        super().__init__(f"cannot write the output: {reason}{f'; {stands}' if stands else ''}")
        self.reason = reason


def emit(as_json: bool, result: Any, text: str | None) -> None:
    """Print a result: as JSON, or as ``text`` for people (``None`` or empty prints nothing)."""
    if as_json:
        write(_line({"ok": True, "result": result}))
    elif text:
        write(_harmless(text))


def write(line: str, color: bool | None = None) -> None:
    """Write to standard output, now; ``color`` as for `click.echo`. Raises `Unwritable` and `BrokenPipeError`."""
    try:
        click.echo(line, color=color)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Unwritable(error.strerror) from None


def give_up() -> None:
    """Send what standard output did not take to nowhere, so that nothing complains about it when Python ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def note(message: str) -> None:
    """Tell the person something that is not the result."""
    click.echo(_harmless(message), err=True)


def fail(as_json: bool, error: TracecraftError) -> None:
    """Print an error; the caller exits with ``error.exit_code``."""
    if as_json:
        fail_json(describe(error))
    click.echo(_harmless(f"tracecraft: {error}"), err=True)


def fail_json(facts: Mapping[str, Any]) -> None:
    """Print an error's facts as JSON; where that cannot be written, the words on standard error must do."""
    try:
        write(_line({"ok": False, "error": facts}))
    except (Unwritable, BrokenPipeError):
        give_up()


def describe(error: TracecraftError) -> dict[str, Any]:
    """An error and its facts, for JSON."""
    facts = {name: value for name, value in vars(error).items() if not name.startswith("_")}
    return {"code": error.exit_code, "type": type(error).__name__, "message": str(error), **facts}


def compact(value: Any) -> str:
    """A JSON value in one line; strings bare, so that a shell can use them."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def table(header: list[str], rows: list[list[str]]) -> str:
    """Columns in plain text, wide as needed; the last one is not padded. Nothing in it has power over the terminal."""
    from tracecraft_core.quotation import neutral

    shown = [[neutral(cell) for cell in row] for row in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown]
    return "\n".join(lines)


def _harmless(text: str) -> str:
    """Without power over the terminal: what others wrote is somewhere in most of what is printed."""
    from tracecraft_core.quotation import neutral

    return neutral(text, keep="\n\t")


def _line(value: Any) -> str:
    """JSON in one line; what a terminal could obey is written as an escape, and means the same."""
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False, default=str))


def interactive() -> bool:
    """Whether a person watches the output."""
    return sys.stdout.isatty()
