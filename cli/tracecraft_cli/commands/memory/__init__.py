"""``tracecraft memory``: one module a sub-command."""

from __future__ import annotations

from typing import Final

import click

from tracecraft_cli.lazy import LazyGroup

TABLE: Final = {
    "set": "Write a value.",
    "get": "Print a value.",
    "list": "List keys and values.",
    "delete": "Delete a key.",
    "history": "The revisions of a key.",
    "watch": "Print changes as they happen.",
    "incr": "Add to a number, losing no update.",
    "merge": "Apply a JSON merge patch (RFC 7396), losing no update.",
}


@click.group(cls=LazyGroup, package="tracecraft_cli.commands.memory", table=TABLE)
def command() -> None:
    """Shared memory: JSON or text under dotted keys, with revisions and compare-and-set.

    Example: tracecraft memory set findings.json 47
    """
