"""The state of the project at a sequence, a time or a step, from the bridge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tracecraft.queries import ask
from tracecraft_core import cut
from tracecraft_core.queries import State

if TYPE_CHECKING:
    from tracecraft.context import Context
    from tracecraft_core.queries import StateQuestion


async def state_at(context: Context, question: StateQuestion) -> State:
    """Memory, tasks, mailboxes and last steps as they were; a large state is fetched in pages.

    Raises what `ask` raises.
    """
    pages = [await ask(context, "state.at", question, State)]
    if pages[0].next is not None:  # the next pages must be about the same moment, also while the log grows
        question = msgspec.structs.replace(question, seq=pages[0].seq, time=None, step=None)
    while pages[-1].next is not None:
        question = msgspec.structs.replace(question, cursor=pages[-1].next)
        pages.append(await ask(context, "state.at", question, State))
    return cut.together(pages)
