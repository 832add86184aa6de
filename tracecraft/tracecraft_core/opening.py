"""`Opening`: a connection that is opened by its first verb, by one of all that come together."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_INSIDE: Final[ContextVar[object]] = ContextVar("tracecraft_opening", default=None)
"""The `Opening` whose verbs these are: they must not wait for themselves."""


class Opening:
    """Awaited before every verb; only the first one opens. After a failure the next verb tries again."""

    def __init__(self, open_: Callable[[], Awaitable[object]]) -> None:
        self._open = open_
        self._task: asyncio.Task[None] | None = None

    async def __call__(self) -> None:
        """Return when it is open; raises what opening raises."""
        if _INSIDE.get() is self:
            return
        if self._task is None or (self._task.done() and (self._task.cancelled() or self._task.exception())):
            self._task = asyncio.create_task(self._run())
        await asyncio.shield(self._task)

    async def _run(self) -> None:
        _INSIDE.set(self)
        await self._open()
