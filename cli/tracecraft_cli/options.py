"""The options that every command has, and the environment twin of each.

They may stand before the command's name or behind it; behind wins.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

_R = TypeVar("_R")

FLAGS: Final = {
    "server": "URL of the NATS server.",
    "project": "Project name.",
    "agent": "Name of this agent.",
    "session": "Session of this agent.",
    "context": "NATS context.",
    "creds": "NATS .creds file.",
}
DIVERT: Final = "tracecraft.divert"
"""Where the command group says who may do a command elsewhere: called with its `Common` and its context."""
_SHORT: Final = {"project": "-p", "agent": "-a", "server": "-s"}


@dataclass(frozen=True, slots=True)
class Common:
    """What the common options said."""

    flags: dict[str, str | None]
    as_json: bool


def common(function: Callable[..., _R]) -> Callable[..., _R]:
    """Add the common options to a command; it gets them as its first argument, a `Common`."""

    @functools.wraps(function)
    def wrapper(**kwargs: Any) -> _R:
        outer: Common | None = click.get_current_context().find_root().obj
        flags = {name: kwargs.pop(name) for name in FLAGS}
        as_json = kwargs.pop("as_json")
        if outer is not None:
            flags = {name: value if value is not None else outer.flags[name] for name, value in flags.items()}
            as_json = as_json or outer.as_json
        given = Common(flags, as_json)
        context = click.get_current_context()
        if (divert := context.meta.get(DIVERT)) is not None:
            divert(given, context)
        return function(given, **kwargs)

    return add_options(wrapper)


def add_options(function: Callable[..., _R]) -> Callable[..., _R]:
    """Declare the common options."""
    for name, meaning in reversed(FLAGS.items()):
        short = (_SHORT[name],) if name in _SHORT else ()
        text = f"{meaning} [env: TRACECRAFT_{name.upper()}]"
        declare = click.option(*short, f"--{name}", metavar=name.upper(), help=text, allow_from_autoenv=False)
        function = declare(function)
    json_help = "Print one JSON object a result. [env: TRACECRAFT_JSON]"
    return click.option("--json", "as_json", is_flag=True, envvar="TRACECRAFT_JSON", help=json_help)(function)


class Whole(click.IntRange):
    """A whole number in a range; click's own says 'not a valid integer range' of a word."""

    name = "integer"


class Duration(click.ParamType[float]):
    """Seconds, or a number with ``s``, ``m``, ``h`` or ``d``."""

    name = "duration"
    _units: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse ``90``, ``15m`` or ``1.5h``."""
        if isinstance(value, (int, float)):
            return float(value)
        text = str(value).strip()
        unit = next((unit for unit in self._units if text.endswith(unit)), "")
        try:
            seconds = float(text.removesuffix(unit)) * (self._units[unit] if unit else 1.0)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds < float("inf"):
            self.fail(f"{value!r} is not a duration; for example 90, 15m, 1.5h or 2d", param, ctx)
        return seconds


DURATION: Final = Duration()
