"""``tracecraft memory delete``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tracecraft_cli.commands.memory import keys
from tracecraft_cli.options import Common, Whole, common
from tracecraft_cli.output import emit
from tracecraft_cli.runner import guard, run

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo


@click.command()
@click.argument("key")
@click.option("--if-revision", type=Whole(min=1), help="Only if the key is at this revision.")
@common
def command(common: Common, key: str, if_revision: int | None) -> None:
    """Delete KEY and print the revision of the deletion. Its history stays. Exits with 1 when it has no value.

    Exits with 3, and deletes nothing, when --if-revision does not hold.

    Example: tracecraft memory delete findings.json --if-revision 12
    """

    async def work(session: AsyncSession, memo: Memo) -> None:
        from tracecraft_core.errors import RevisionConflict

        try:
            revision = await session.memory.delete(key, if_revision=if_revision)
        except RevisionConflict as conflict:
            raise RevisionConflict(f"memory key {key}", conflict.expected, conflict.actual) from None
        emit(common.as_json, {"key": key, "revision": revision}, str(revision))

    guard(common.as_json, lambda: keys.check(key))
    run(common, work)
