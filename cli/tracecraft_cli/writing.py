"""What `send` and `broadcast` have in common: the options of a message and their check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tracecraft_cli.given import parse_json, read_value
from tracecraft_cli.options import Whole
from tracecraft_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class Letter:
    """A message as it was given, checked."""

    text: str
    kind: str
    thread: str | None
    reply_to: int | None
    data: Any

    def fields(self) -> dict[str, Any]:
        """All but the text, as the SDK takes it."""
        return {"kind": self.kind, "thread": self.thread, "reply_to": self.reply_to, "data": self.data}


def message_options(function: Callable[..., _R]) -> Callable[..., _R]:
    """Declare the options of a message."""
    kind = click.option(
        "--kind", default="note", metavar="K", help="note, question, answer, handoff, or a word of yours."
    )
    thread = click.option("--thread", metavar="T", help="Name of the conversation it belongs to.")
    reply_to = click.option("--reply-to", type=Whole(min=1), metavar="ID", help="The message it answers.")
    data = click.option("--data", metavar="JSON", help="Any JSON to go with the text.")
    return kind(thread(reply_to(data(function))))


def read_letter(text: str, kind: str, thread: str | None, reply_to: int | None, data: str | None) -> Letter:
    """Check what was given; '-' reads the text from standard input. Raises `UsageError`."""
    content = read_value(text, "TEXT")
    if text == "-":
        content = content.rstrip("\n")
    if not content.strip():
        raise UsageError("TEXT is empty: say something, for example 'done, see findings.json'")
    given = None if data is None else parse_json(data, "--data", """'{"task": "S1.parse"}'""")
    return Letter(content, read_value(kind, "--kind"), thread and read_value(thread, "--thread"), reply_to, given)
