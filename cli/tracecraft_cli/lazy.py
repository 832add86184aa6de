"""Groups that list their commands from a table and import one only when it is run.

``tracecraft --help`` must cost no more than click: importing nats alone takes longer than the whole of it.
"""

from __future__ import annotations

from importlib import import_module
from keyword import iskeyword
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping


class LazyGroup(click.Group):
    """A click group over a table of command names and their one-line help.

    The command ``wait-for`` is the object ``command`` of the module ``<package>.wait_for``; that of ``import``, a word
    of Python's, of ``<package>.import_``.
    """

    def __init__(self, *args: Any, package: str, table: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._package, self._table = package, table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the order of the table."""
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in self._table:
            return None
        name = cmd_name.replace("-", "_")
        module = import_module(f"{self._package}.{name}{'_' if iskeyword(name) else ''}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self._table.items()))
