"""``tracecraft memory set``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tracecraft_cli.given import DashedWords, parse_value, read_value
from tracecraft_cli.options import Common, Whole, common
from tracecraft_cli.output import emit
from tracecraft_cli.runner import guard, run

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo


@click.command(cls=DashedWords)
@click.argument("key")
@click.argument("value")
@click.option("--text", is_flag=True, help="Store VALUE as a string even when it is JSON.")
@click.option("--if-revision", type=Whole(min=0), help="Only if the key is at this revision.")
@click.option("--if-absent", is_flag=True, help="Only if the key has no value.")
@click.option(
    "--if-better",
    metavar="FIELD",
    help="Only if the number at FIELD, a dotted path into VALUE ('.': VALUE itself), is higher than the one there.",
)
@click.option("--lower", is_flag=True, help="With --if-better: lower is better.")
@click.option(
    "--under",
    metavar="TASK",
    help="Renew the claim of this task first, or refuse if it is lost; the log shows its fencing token.",
)
@common
def command(
    common: Common,
    key: str,
    value: str,
    text: bool,
    if_revision: int | None,
    if_absent: bool,
    if_better: str | None,
    lower: bool,
    under: str | None,
) -> None:
    """Write VALUE under KEY and print the new revision. '-' reads VALUE from standard input.

    A value that parses as JSON is stored as that JSON, anything else as a string. Exits with 3, and writes nothing,
    when --if-revision, --if-absent or --if-better does not hold.

    Example: tracecraft memory set findings.json '{"papers": 47}' --if-absent
    """
    content: Any = None

    def check() -> None:
        nonlocal content
        _check(key, under, if_revision, if_absent)
        _check_better(if_better, lower, if_revision is not None or if_absent or under is not None)
        content = parse_value(read_value(value), text)

    async def work(session: AsyncSession, memo: Memo) -> None:
        if if_better is not None:
            revision = await _improve(session, key, content, if_better.strip("."), lower)
            emit(common.as_json, {"key": key, "revision": revision}, str(revision))
            return
        fence = None if under is None else await _fence(session, under)
        from tracecraft_core.errors import RevisionConflict

        try:
            revision = await session.memory.set(key, content, if_revision=if_revision, if_absent=if_absent, fence=fence)
        except RevisionConflict as conflict:
            name, has_value = f"memory key {key}", conflict.has_value
            raise RevisionConflict(name, conflict.expected, conflict.actual, has_value=has_value) from None
        emit(common.as_json, {"key": key, "revision": revision}, str(revision))

    guard(common.as_json, check)
    run(common, work, touches=() if under is None else (under,))


def _check(key: str, under: str | None, if_revision: int | None, if_absent: bool) -> None:
    from tracecraft_core import names
    from tracecraft_core.errors import UsageError

    names.memory_key(key)
    if under is not None:
        names.task(under)
    if if_absent and if_revision is not None:
        raise UsageError("--if-revision and --if-absent exclude each other; for a key never written: --if-revision 0")


def _check_better(if_better: str | None, lower: bool, others: bool) -> None:
    from tracecraft_core.errors import UsageError

    if if_better is not None and others:
        raise UsageError("--if-better excludes --if-revision, --if-absent and --under: it compares the values itself")
    if lower and if_better is None:
        raise UsageError("--lower belongs to --if-better, for example --if-better loss --lower")


async def _improve(session: AsyncSession, key: str, content: Any, by: str, lower: bool) -> int:
    from tracecraft_core.errors import Refused

    written = await session.memory.set_if_better(key, content, by=by, lower=lower)
    if written is None:
        raise Refused(f"memory key {key} holds one that is as good or better: nothing was written")
    return written.revision


async def _fence(session: AsyncSession, task: str) -> tuple[str, int]:
    """The fencing token of a task that we hold, proven by a write: a read could be late."""
    from tracecraft import claims

    held = await claims.hold(session.context, task)
    await claims.renew(session.context, held)
    return task, held.fence
