"""``tracecraft claim``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tracecraft_cli.behind_dashes import WithProgram, program
from tracecraft_cli.options import DURATION, Common, common
from tracecraft_cli.output import Unwritable, emit
from tracecraft_cli.runner import guard, run

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo
    from tracecraft_cli.taking import Wish


@click.command(cls=WithProgram, example="tracecraft claim S1.parse --exec -- ./work.sh")
@click.argument("tasks", metavar="[TASK]...", nargs=-1)
@click.option(
    "--next",
    "pattern",
    is_flag=False,
    flag_value=">",
    metavar="[PATTERN]",
    help="The first task that can be claimed, of those that match, instead of TASK.",
)
@click.option("--lease", type=DURATION, help="Length of the lease, for example 30s. [default: 15m; with --exec 30s]")
@click.option("--wait", type=DURATION, help="Wait this long while somebody else has it, for example 60s.")
@click.option("--exec", "executes", is_flag=True, help="Run the command behind '--' under the claim.")
@click.option("--grace", type=DURATION, default=5.0, help="Time from SIGTERM to SIGKILL for CMD. [default: 5s]")
@common
def command(
    common: Common,
    tasks: tuple[str, ...],
    pattern: str | None,
    lease: float | None,
    wait: float | None,
    executes: bool,
    grace: float,
) -> None:
    """Claim TASK, so that nobody else does it; print its id, its fencing token, and what is known about it.

    An unknown task is created. Of several all or none are claimed. Exits with 3, naming the owner, when somebody else
    has it, with 124 when --wait was in vain. The lease lapses by itself; every tracecraft command of yours renews it.

    With --exec CMD runs under the claim and the lease is renewed as long as CMD runs: exit code 0 completes the task,
    another one fails it. CMD finds TRACECRAFT_TASK and TRACECRAFT_FENCE in its environment, and tracecraft commands in
    it act as the same owner. When the claim is lost, or this process dies, CMD is stopped (exit code 4).

    Examples: tracecraft claim S1.parse --wait 60s; tracecraft claim --next 'S1.*' --exec -- ./work.sh
    """
    argv = program()
    if executes != bool(argv):
        raise click.UsageError("--exec runs what stands behind '--': tracecraft claim S1.parse --exec -- ./work.sh")
    if bool(tasks) == (pattern is not None):
        raise click.UsageError("name the tasks, or let --next choose one: tracecraft claim S1.parse")

    def prepare() -> Wish:
        from tracecraft import leases
        from tracecraft_cli.taking import Wish
        from tracecraft_core import names, reservations

        for task in tasks:
            reservations.check_work(names.task(task))
        if pattern is not None:
            names.pattern(pattern)
        default = leases.LIVE_TTL_S if executes else leases.ONESHOT_TTL_S
        return Wish(tuple(dict.fromkeys(tasks)), pattern, leases.check_ttl(default if lease is None else lease), wait)

    if argv:
        guard(common.as_json, lambda: _execute(common, prepare(), argv, grace))
    else:
        guard(common.as_json, lambda: _claim(common, prepare()))


def _claim(common: Common, wish: Wish) -> None:
    async def work(session: AsyncSession, memo: Memo) -> None:
        from tracecraft_cli import taking, task_view

        taken = await taking.take(session, wish)
        for held in taken:
            memo.remember(held.task)
        try:
            for held in taken:
                emit(common.as_json, task_view.claim_json(held), task_view.claim_text(held))
        except Unwritable as error:
            stands = f"the claim stands: {' '.join(held.task for held in taken)}"
            raise Unwritable(error.reason, stands) from None

    run(common, work, touches=wish.tasks)


def _execute(common: Common, wish: Wish, argv: tuple[str, ...], grace: float) -> None:
    from tracecraft_cli.execution import execute

    raise SystemExit(execute(common, wish, argv, grace))
