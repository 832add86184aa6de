"""`guarded`: a callback of ours inside of somebody else's framework, which must never feel that we failed."""

from __future__ import annotations

import functools
import inspect
import logging
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

_F = TypeVar("_F", bound="Callable[..., Any]")
_told: Final[set[tuple[str, type[Exception]]]] = set()
"""What has been warned about: a callback that fails a thousand times says so once."""


def guarded(function: _F) -> _F:
    """A function or coroutine function that returns ``None`` where it would have raised an `Exception`.

    The first failure of each kind is a warning with its traceback, the others go to the debug log.
    """
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def quiet(*arguments: Any, **named: Any) -> Any:
            try:
                return await function(*arguments, **named)
            except Exception as error:
                _tell(function, error)

    else:

        @functools.wraps(function)
        def quiet(*arguments: Any, **named: Any) -> Any:
            try:
                return function(*arguments, **named)
            except Exception as error:
                _tell(function, error)

    return quiet  # type: ignore[return-value]


def _tell(function: Callable[..., Any], error: Exception) -> None:
    name = f"{function.__module__}.{function.__qualname__}"
    first = (name, type(error)) not in _told
    _told.add((name, type(error)))
    logger.log(
        logging.WARNING if first else logging.DEBUG,
        "%s failed: something that the framework did is not recorded; the framework goes on: %s",
        name,
        error,
        exc_info=error,
    )
