"""What the tools do, one module a subject; `VERBS` has each by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tracecraft.integrations.toolbox.verbs import files, mail, memory, past, project, tracking, waiting, work

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tracecraft.integrations.toolbox.desk import Turn
    from tracecraft.integrations.toolbox.results import Result

VERBS: Final[dict[str, Callable[[Turn, Any], Awaitable[Result]]]] = {
    "whoami": project.whoami,
    "agents": project.agents,
    "tasks": project.tasks,
    "add_task": project.add_task,
    "claim": work.claim,
    "complete": work.complete,
    "release": work.release,
    "send": mail.send,
    "inbox": mail.inbox,
    "wait": waiting.wait,
    "memory_get": memory.get,
    "memory_set": memory.set_,
    "memory_list": memory.list_,
    "reserve": files.reserve,
    "log": tracking.log,
    "runs": past.runs,
}
"""Every tool's code."""
