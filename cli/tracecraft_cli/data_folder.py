"""``--data``: the folder of a stack, and how to name it to others."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from collections.abc import Callable


class _Folder(click.Path):
    """A folder that has a name: an empty one, of an unset shell variable, would be the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value).strip():
            self.fail("the data folder must not be empty: name one, or leave --data out", param, ctx)
        return super().convert(value, param, ctx)


_FOLDER: Final = _Folder(path_type=Path)


def data_option(text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``--data``, with this help."""
    return click.option("--data", type=_FOLDER, envvar="TRACECRAFT_DATA", help=text)


def chosen(data: Path | None) -> Path:
    """The folder, absolute; without ``--data`` that of the default stack."""
    from tracecraft_core.local import data_dir

    return (data or data_dir()).expanduser().absolute()


def elsewhere(folder: Path) -> str:
    """The folder, quoted for a shell, when commands must be told of it; else nothing."""
    return "" if folder == chosen(None) else shlex.quote(str(folder))
