"""``wait``: one blocking call for tasks and for mail."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from msgspec import UNSET

from tracecraft import claims, waiting
from tracecraft.integrations.toolbox import seen
from tracecraft.integrations.toolbox.problem import INVALID_ARGUMENTS, ToolProblem
from tracecraft.integrations.toolbox.results import WaitResult
from tracecraft.integrations.toolbox.verbs.mail import letters
from tracecraft_core import names
from tracecraft_core.errors import OwnerLost, TaskFailed, WaitTimeout

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracecraft.claims import Task
    from tracecraft.integrations.toolbox.arguments import WaitArguments
    from tracecraft.integrations.toolbox.desk import Turn
    from tracecraft.mail import InboxMessage

LETTERS: Final = 10
"""Messages that end a wait; more of them wait for `inbox`."""
TASKS: Final = 10
"""Tasks that are told about."""


async def wait(turn: Turn, arguments: WaitArguments) -> WaitResult:
    """Block until something happens; that nothing did is a result too."""
    if not arguments.tasks and not arguments.message:
        raise ToolProblem(INVALID_ARGUMENTS, "wait: name tasks, or wait for a message with message=true", retry=True)
    for task in arguments.tasks:
        names.pattern(task)
    began = asyncio.get_running_loop().time()
    arrived: list[InboxMessage] = []
    reason, explanation, tasks = await _wait(turn, arguments, arrived)
    turn.handing.messages += arrived
    return WaitResult(
        reason=reason,
        seconds=round(asyncio.get_running_loop().time() - began, 1),
        tasks=[seen.waited(task) for task in tasks][:TASKS],
        messages=letters(arrived),
        explanation=explanation or UNSET,
    )


async def _wait(
    turn: Turn, arguments: WaitArguments, arrived: list[InboxMessage]
) -> tuple[str, str | None, Iterable[Task]]:
    async def mail() -> None:
        arrived.extend(await turn.desk.letters.arrival(LETTERS))

    try:
        result = await waiting.wait_for(
            turn.context,
            arguments.tasks,
            any_=arguments.any,
            timeout=arguments.timeout,
            fail_on_lost=bool(arguments.tasks),
            mail=mail if arguments.message else None,
        )
    except TaskFailed as error:
        explanation = f"{error.task} is {error.state}: it will not get done until somebody claims it again"
        return "failed", explanation, await _now(turn, [error.task])
    except OwnerLost as error:
        explanation = f"the lease of {error.owner or 'the owner'} on {error.task} lapsed: anyone may claim it now"
        return "owner_lost", explanation, await _now(turn, [error.task])
    except WaitTimeout as error:
        return "timeout", str(error), await _now(turn, arguments.tasks)
    return result.reason, None, result.tasks.values()


async def _now(turn: Turn, wanted: list[str]) -> list[Task]:
    """How tasks stand that were named by their ids."""
    found = await asyncio.gather(*(claims.read(turn.context, task) for task in wanted[:TASKS] if _is_id(task)))
    return [task for task in found if task is not None]


def _is_id(task: str) -> bool:
    return "*" not in task and ">" not in task
