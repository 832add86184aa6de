"""``tracecraft complete``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tracecraft_cli.options import Common, common
from tracecraft_cli.output import emit, note
from tracecraft_cli.runner import run

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo


@click.command()
@click.argument("task", envvar="TRACECRAFT_TASK")
@click.option("--note", "text", metavar="TEXT", help="What was done, for whoever comes next.")
@click.option("--to", metavar="AGENT", help="Hand over to this agent: it gets a message of kind handoff too.")
@click.option("--next-action", metavar="TEXT", help="What should be done next.")
@click.option("--result", metavar="JSON", help="The result, as JSON; '-' reads it from standard input.")
@click.option(
    "--status",
    type=click.Choice(["done", "failed", "blocked", "needs_review"]),
    default="done",
    show_default=True,
    help="How it ended.",
)
@click.option("--changed-files-from-git", "files", is_flag=True, help="Add the files changed since the claim.")
@click.option("--verify", "check", metavar="CMD", help="Run this shell line first; complete only if it exits with 0.")
@click.option("--force", is_flag=True, help="Settle it whoever holds it; needs --reason, which is kept.")
@click.option("--reason", metavar="TEXT", help="Why --force.")
@common
def command(
    common: Common,
    task: str,
    text: str | None,
    to: str | None,
    next_action: str | None,
    result: str | None,
    status: str,
    files: bool,
    check: str | None,
    force: bool,
    reason: str | None,
) -> None:
    """Settle TASK, which you hold, and leave a handoff for the next agent.

    Exits with 4, and changes nothing, when the task is no longer yours; says who has it. Saying it twice is fine. With
    --verify the evidence (exit code, hash of the output, commit) is kept with the task. Inside 'claim --exec' TASK is
    the claimed one.

    Example: tracecraft complete S1.parse --note 'see out/ast.json' --to reviewer --verify 'pytest -q'
    """
    if force != bool(reason):
        raise click.UsageError("--force needs --reason, which is kept with the task: --force --reason 'owner is gone'")
    if check is not None and status in ("failed", "blocked"):
        raise click.UsageError(f"--verify proves that a task is done: leave it out with --status {status}")

    async def work(session: AsyncSession, memo: Memo) -> None:
        from tracecraft_cli.settlement import Settling

        settling = Settling.of(task, status, text, to, next_action, result, files, check, reason)
        settled = await settling.carry_out(session)
        memo.forget(task)
        if settled.repeated:
            note(f"{task} was {status} by you already: nothing changed")
        if settled.sent is not None and not settled.sent.registered:
            note(f"no agent {to!r} has been here yet; the message waits for it")
        emit(common.as_json, settled.as_json(), settled.text())

    run(common, work, touches=(task,))
