"""``tracecraft agents``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tracecraft_cli.options import Common, common
from tracecraft_cli.output import emit, note, table
from tracecraft_cli.runner import run

if TYPE_CHECKING:
    from tracecraft import Agent, AsyncSession
    from tracecraft_cli.held import Memo


@click.command()
@click.option("--all", "all_", is_flag=True, help="Also those that left or were lost.")
@common
def command(common: Common, all_: bool) -> None:
    """Show who is there: state, tasks held, since when, last seen.

    'online' has a process that is connected now. 'active 12 s ago' works by single commands, the last of them that
    long ago; it counts as here for 15 minutes. 'left' said so; 'lost' fell silent. Ages are by the server's clock.

    Example: tracecraft agents --all
    """

    async def work(session: AsyncSession, memo: Memo) -> None:
        from tracecraft import timeline

        found = await session.agents(all_=all_)
        now = await timeline.server_time(session.context.bus)
        emit(common.as_json, [_as_json(agent, now) for agent in found], _table(found, now) if found else None)
        if not found:
            note(f"nobody is here in project {session.project}" + ("" if all_ else "; --all shows who was"))

    run(common, work, acts=False)


def state(agent: Agent) -> str:
    """``online``, ``active`` (works by single commands), ``left`` or ``lost``."""
    if agent.online:
        return "online" if agent.mode == "live" else "active"
    return "left" if agent.last_event == "left" else "lost"


def _as_json(agent: Agent, now: str) -> dict[str, Any]:
    import dataclasses

    from tracecraft_cli.ages import seconds_between

    silent = None if agent.last_seen is None else round(seconds_between(agent.last_seen, now), 3)
    return dataclasses.asdict(agent) | {"state": state(agent), "seconds_since_seen": silent}


def _table(found: list[Agent], now: str) -> str:
    from tracecraft_cli.ages import ago, wall
    from tracecraft_core.quotation import neutral
    from tracecraft_core.task_ids import spoken

    rows = [
        [
            neutral(agent.name),
            state(agent) if state(agent) == "online" else f"{state(agent)} {ago(agent.last_seen, now)}",
            neutral(", ".join(map(spoken, agent.tasks))) or "-",
            wall(agent.since, now) if agent.since else "-",
            ago(agent.last_seen, now),
        ]
        for agent in found
    ]
    return table(["agent", "state", "tasks", "since", "last seen"], rows)
