"""``tracecraft session mirror``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tracecraft_cli.commands.session.choice import Choice, Elsewhere, choice_options
from tracecraft_cli.options import Common, common
from tracecraft_cli.output import emit, note
from tracecraft_cli.runner import guard, run

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft.transcripts.finder import Found
    from tracecraft_cli.held import Memo


@click.command()
@click.argument("sessions", metavar="[PATH|SESSION]...", nargs=-1)
@choice_options
@common
def command(common: Common, sessions: tuple[str, ...], choice: Choice) -> None:
    """Take sessions into runs, from where they were mirrored to; once.

    A session is named by its id, the beginning or end of it, or the file. Its run is named after it
    (claude-4a8ba476-...), its agent by --agent, or after the folder it worked in. Each step is recorded once, however
    often you mirror it, also after a crash. The run of a session that is still being written stays open.

    Example: tracecraft session mirror 4a8ba476
    """

    chosen: list[Found] = []

    async def work(session: AsyncSession, memo: Memo) -> None:
        waiting = 0
        for one in chosen if sessions else Elsewhere(session.settings).leave(chosen):
            waiting += not await _mirror(common, session, one)
        if not chosen:
            note(f"there is no {choice.words()} here; 'tracecraft session list' shows those that are here")
        if waiting:
            raise click.exceptions.Exit(1)

    guard(common.as_json, lambda: chosen.extend(choose(sessions, choice)))  # before a bus is looked for
    run(common, work, acts=False)


def choose(sessions: tuple[str, ...], choice: Choice) -> list[Found]:
    """The sessions that are meant. Raises `UsageError` when nothing says which."""
    from tracecraft.transcripts import finder
    from tracecraft_core.errors import UsageError

    if sessions:
        return list(dict.fromkeys(found for wanted in sessions for found in finder.named(wanted)))
    if not choice.given:
        raise UsageError(
            "which sessions? Name one, or say --all, --since, --source or --folder; "
            "for example 'tracecraft session mirror --since 2d --folder .'"
        )
    return choice.find()


async def _mirror(common: Common, session: AsyncSession, found: Found) -> bool:
    from tracecraft.transcripts.mirror import Mirror
    from tracecraft.transcripts.watching import finish

    agent = common.flags["agent"]
    mirror = Mirror(session.settings, found.source, found.path, session=found.session, agent=agent)
    progress = await finish(mirror, found.changed)
    sheet = mirror.mirrored.sheet if mirror.mirrored else None
    result: dict[str, Any] = {
        "run": mirror.run,
        "source": found.source,
        "session": found.session,
        "agent": sheet.agent if sheet else None,
        "steps": progress.steps,
        "waiting": progress.waiting or None,
    }
    emit(common.as_json, result, f"{mirror.run}: {describe(progress.steps)}")
    for said in (progress.note, progress.waiting):
        if said:
            note(f"tracecraft: {mirror.run}: {said}")
    return not progress.waiting


def describe(steps: int) -> str:
    """How much was new."""
    return "nothing new" if not steps else f"{steps:,} new step{'s'[: steps != 1]}"
