"""``whoami``, ``agents``, ``tasks``, ``add_task``: who is there, and what there is to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from tracecraft.integrations.toolbox import bounds, seen
from tracecraft.integrations.toolbox.results import AddTaskResult, AgentSeen, AgentsResult, TasksResult, WhoamiResult
from tracecraft_core.errors import NotFound
from tracecraft_core.reservations import is_ours

if TYPE_CHECKING:
    from tracecraft.integrations.toolbox.arguments import (
        AddTaskArguments,
        AgentsArguments,
        TasksArguments,
        WhoamiArguments,
    )
    from tracecraft.integrations.toolbox.desk import Turn
    from tracecraft_core.errors import TracecraftError
    from tracecraft_core.settings import Settings


async def whoami(turn: Turn, _: WhoamiArguments) -> WhoamiResult:
    """Who we are, and what we hold."""
    context = turn.context
    held = await turn.session.tasks.list(state="claimed")
    reserved = await turn.session.reservations.list()
    return WhoamiResult(
        agent=context.agent,
        project=context.project,
        server=turn.session.settings.server,
        bus="connected",
        session=context.holder.session,
        run=seen.or_unset(turn.desk.tracking.current()),
        holds=[task.id for task in held if context.holder.holds(task.record)][:50],
        files=[bounds.head(one.glob, bounds.LINE) for one in reserved if is_ours(one, context.holder)][:50],
        unread=await turn.desk.letters.unread(),
    )


def offline(settings: Settings, error: TracecraftError) -> WhoamiResult:
    """Who we are, while the bus is away."""
    return WhoamiResult(
        agent=settings.agent,
        project=settings.project,
        server=settings.server,
        bus=bounds.head(str(error), 500),
        session=seen.or_unset(settings.session),
    )


async def agents(turn: Turn, arguments: AgentsArguments) -> AgentsResult:
    """Who is there."""
    found = await turn.session.agents(all_=arguments.all)
    rows = [
        AgentSeen(
            agent=bounds.head(agent.name, 64),
            online=agent.online,
            tasks=[bounds.head(task, 256) for task in agent.tasks[:20]],
            since=seen.or_unset(agent.since),
            last_seen=seen.or_unset(agent.last_seen),
            last_event=UNSET if agent.online else seen.or_unset(agent.last_event),
            you=agent.name == turn.context.agent,
        )
        for agent in sorted(found, key=lambda agent: not agent.online)
    ]
    shown = bounds.fit(rows)
    left = len(rows) - len(shown)
    return AgentsResult(agents=shown, left_out=f"{left} more, the offline ones last" if left else UNSET)


async def tasks(turn: Turn, arguments: TasksArguments) -> TasksResult:
    """What there is to do."""
    if arguments.task is not UNSET:
        task = await turn.session.tasks.show(arguments.task)
        if task is None:
            raise NotFound("task", arguments.task, "tasks() lists them, claim() or add_task() makes one")
        return TasksResult(tasks=[seen.task_whole(task, arguments.offset)], total=1)
    state = None if arguments.state is UNSET else arguments.state
    found = await turn.session.tasks.list(arguments.pattern, state=state)
    wanted = found[arguments.offset : arguments.offset + arguments.limit]
    shown = bounds.fit([seen.task_line(task) for task in wanted])
    return TasksResult(
        tasks=shown,
        total=len(found),
        left_out=bounds.page(len(found), arguments.offset, shown, "narrow it down with pattern or state"),
    )


async def add_task(turn: Turn, arguments: AddTaskArguments) -> AddTaskResult:
    """Add a task."""
    title = None if arguments.title is UNSET else arguments.title
    task = await turn.session.tasks.add(arguments.task, title=title, after=arguments.after, data=arguments.data)
    return AddTaskResult(task=task.id, state=task.record.state, revision=task.revision)
