"""``tracecraft autoresearch watch``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracecraft_cli.options import DURATION, Common, common
from tracecraft_cli.runner import guard, run

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.autoresearch.folder import Folder
    from tracecraft_cli.held import Memo
    from tracecraft_core.settings import Settings


@click.command()
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path), metavar="[FOLDER]...")
@click.option("--once", is_flag=True, help="Write what is there, and end.")
@click.option("--metric", metavar="NAME", help="The column that counts.  [default: the first one with numbers]")
@click.option("--higher", is_flag=True, help="Higher is better.  [default: lower]")
@click.option("--script", default="train.py", show_default=True, metavar="FILE", help="What the agent edits.")
@click.option(
    "--interval", type=DURATION, default=1.0, metavar="DURATION", help="Time between two looks.  [default: 1s]"
)
@common
def command(
    common: Common,
    folders: tuple[Path, ...],
    once: bool,
    metric: str | None,
    higher: bool,
    script: str,
    interval: float,
) -> None:
    """Make a run of each experiment in FOLDER, a git repository or worktree with results.tsv and run.log [default: .].

    Each row becomes a run, once: its commit's constants and change, its metrics, its status; a crash with the end of
    its log. An experiment that goes on is a run that goes on, with its curve. The runs lie inside of one run for the
    branch, which has the best so far. Rows that are there already are taken in. The folder is only read; stopped and
    started again, it goes on.

    Example: tracecraft autoresearch watch ../mar5-gpu0 ../mar5-gpu1
    """
    paths = [folder.absolute() for folder in folders or (Path(),)]

    async def work(session: AsyncSession, memo: Memo) -> None:
        from tracecraft_cli.autoresearch.watching import Watcher

        watched = [_folder(session.settings, path, script, metric, higher=higher) for path in paths]
        watcher = Watcher(session.context, watched, as_json=common.as_json)
        if once:
            await watcher.once()
        elif await watcher.follow(max(0.05, interval)):
            raise KeyboardInterrupt

    guard(common.as_json, lambda: _check(paths, script))
    run(common, work, acts=False)


def _check(paths: list[Path], script: str) -> None:
    from tracecraft_cli.autoresearch.repository import Repository
    from tracecraft_core.errors import UsageError

    if Path(script).is_absolute() or ".." in Path(script).parts:
        raise UsageError(f"--script {script}: a path inside of the folder is expected, for example train.py")
    for path in paths:
        if not path.is_dir():
            raise UsageError(f"{path} is no folder: give that of an experiment, with its results.tsv")
        Repository(path).check()


def _folder(settings: Settings, path: Path, script: str, metric: str | None, *, higher: bool) -> Folder:
    from tracecraft_cli.autoresearch.folder import Folder, Options
    from tracecraft_cli.autoresearch.memo import Memo
    from tracecraft_cli.autoresearch.repository import Repository

    return Folder(path, Repository(path), Memo(settings, path), Options(script, metric, higher))
