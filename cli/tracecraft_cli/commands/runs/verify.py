"""``tracecraft runs verify``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tracecraft_cli.options import Common, common
from tracecraft_cli.output import emit
from tracecraft_cli.runner import guard, run

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo


@click.command()
@click.argument("what", metavar="ID|FILE.tcb")
@click.option("--deep", is_flag=True, help="Read every file of the run again and compare its hash.")
@common
def command(common: Common, what: str, deep: bool) -> None:
    """Prove that everything of a run is there, once and undamaged; exit code 1 and what is wrong when it is not.

    Every writer numbers its events, so what is missing has a number. A file is verified without a server. Nothing is
    ever repaired.

    Examples: tracecraft runs verify k3x9qa --deep; tracecraft runs verify winner.tcb
    """
    verdict: list[bool] = []
    if what.endswith(".tcb"):
        guard(common.as_json, lambda: verdict.append(_file(common, Path(what))))
    else:

        async def work(session: AsyncSession, memo: Memo) -> None:
            verdict.append(await _run(common, session, what, deep))

        run(common, work, acts=False)
    if verdict != [True]:
        sys.exit(1)


def _file(common: Common, path: Path) -> bool:
    from tracecraft_cli import carrying

    with carrying.open_bundle(path) as reader:
        problems, manifest = reader.verify(), reader.manifest
    result: dict[str, Any] = {"file": str(path), "run": manifest.run, "root": manifest.root, "problems": problems}
    head = (
        f"{path}: run {manifest.run} of project {manifest.project}, {manifest.entries:,} entries, root {manifest.root}"
    )
    lines = [f"  {problem}" for problem in problems]
    emit(common.as_json, result, "\n".join([head, *lines, "damaged" if problems else "whole"]))
    return not problems


async def _run(common: Common, session: AsyncSession, run_id: str, deep: bool) -> bool:
    import msgspec

    from tracecraft.queries import ask
    from tracecraft_cli import spooled
    from tracecraft_cli.proof import lines
    from tracecraft_core.queries import RunVerification, VerifyQuestion

    question = VerifyQuestion(run=run_id, deep=deep)
    found = await ask(session.context, "runs.verify", question, RunVerification, patience=600.0)
    here = spooled.of_run(session.project, found.run, {writer.writer for writer in found.writers})
    result = {**msgspec.to_builtins(found), "here": here or None}
    emit(common.as_json, result, "\n".join([*lines(found, session.project), *([here] if here else [])]))
    return found.complete
