"""``tracecraft autoresearch watch``."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from tracecraft_cli.options import DURATION, Common, common
from tracecraft_cli.output import note
from tracecraft_cli.runner import guard, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracecraft import AsyncSession
    from tracecraft_cli.autoresearch.folder import Folder
    from tracecraft_cli.held import Memo
    from tracecraft_core.errors import BusUnreachable
    from tracecraft_core.settings import Settings

AGAIN_S: Final = 2.0
"""Seconds until a bus that is away is looked for again."""


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
    watched: list[Folder] = []
    patience = _Patience()

    def check() -> None:
        from tracecraft_core import settings

        _check(paths, script)
        resolved = settings.load(common.flags)
        watched.extend(_folder(resolved, path, script, metric, higher=higher) for path in paths)
        standing = ", ".join(folder.standing() for folder in watched)
        if not once:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until the watcher ends by itself
            note(f"watching {standing} into project {resolved.project}; Ctrl-C ends it")

    async def work(session: AsyncSession, memo: Memo) -> None:
        from tracecraft_cli.autoresearch.watching import Watcher

        watcher = Watcher(session.context, watched, as_json=common.as_json)
        if once:
            await watcher.once()
        elif await watcher.follow(max(0.05, interval)):
            raise KeyboardInterrupt

    guard(common.as_json, check)
    if once:
        run(common, work, acts=False)
    else:
        patience.run(lambda: run(common, work, acts=False, away=patience.wait))


class _Patience:
    """A bus that is away when the watcher begins is waited for: the files have all that is to be written."""

    def __init__(self) -> None:
        self._away = True
        self._told = False

    def run(self, attempt: Callable[[], None]) -> None:
        """Try until the bus was there."""
        while self._away:
            self._away = False
            attempt()

    async def wait(self, _: Settings, error: BusUnreachable) -> None:
        """Say so, once, and have it tried again."""
        import asyncio

        if not self._told:
            note(f"tracecraft: {error}; it is tried again")
        self._told = self._away = True
        await asyncio.sleep(AGAIN_S)


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
