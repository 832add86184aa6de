"""One verb over several tasks: each gets its turn, and the first failure decides the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracecraft_cli.output import fail
from tracecraft_core.errors import ClaimLost, NotFound, Refused, TracecraftError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence


async def each(as_json: bool, tasks: Sequence[str], verb: Callable[[str], Awaitable[None]]) -> None:
    """Apply ``verb`` to every task, also when one is refused. Raises the first refusal; later ones are printed."""
    first: TracecraftError | None = None
    for task in tasks:
        try:
            await verb(task)
        except (ClaimLost, NotFound, Refused) as error:
            if first is not None:
                fail(as_json, error)
            first = first or error
    if first is not None:
        raise first
