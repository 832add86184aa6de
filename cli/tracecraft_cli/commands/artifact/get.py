"""``tracecraft artifact get``."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from tracecraft_cli.options import Common, common
from tracecraft_cli.output import Unwritable, emit
from tracecraft_cli.runner import guard, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo
    from tracecraft_core.queries import GetQuestion

STDOUT: Final = Path("-")


@click.command()
@click.argument("of", metavar="RUN|SHA256")
@click.argument("name", metavar="[NAME]", required=False)
@click.option(
    "--output",
    "-o",
    metavar="PATH",
    help="Where to write it; a folder: there; -: standard output.  [default: NAME's last part]",
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@common
def command(common: Common, of: str, name: str | None, output: str | None, force: bool) -> None:
    """Fetch the file NAME of RUN, or the one with this SHA256. It appears when it is whole and its hash is right.

    What was interrupted goes on where it stopped. Exits with 1 when there is no such file, or it is damaged.

    Example: tracecraft artifact get k3x9qa models/best.joblib -o best.joblib
    """

    async def work(session: AsyncSession, memo: Memo) -> None:
        from tracecraft import artifacts

        with _bar() as progress, _place(target) as place:
            answer = await artifacts.get_file(session.context, _question(of, name), place, progress=progress)
            if target == STDOUT:
                _copy(place)
                return
        result = {"path": str(target), "sha256": answer.sha256, "size": answer.size, "media_type": answer.media_type}
        emit(common.as_json, result, str(target))

    target = _target(of, name, output)
    guard(common.as_json, lambda: _check(of, name, target, force, common.as_json))
    run(common, work, acts=False)


def _target(of: str, name: str | None, output: str | None) -> Path:
    last = (name or of).rpartition("/")[2]
    if output is None:
        return Path(last) if last != str(STDOUT) else Path.cwd() / last
    if output == str(STDOUT):
        return STDOUT
    return Path(output) / last if Path(output).is_dir() else Path(output)


def _question(of: str, name: str | None) -> GetQuestion:
    from tracecraft_core.queries import GetQuestion

    return GetQuestion(run=of, name=name) if name else GetQuestion(sha256=of)


@contextlib.contextmanager
def _place(target: Path) -> Iterator[Path]:
    """The target; for standard output a file that goes again, so that only what has the right hash is written."""
    import tempfile

    if target != STDOUT:
        yield target
        return
    with tempfile.TemporaryDirectory(prefix="tracecraft-") as folder:
        yield Path(folder) / "content"


def _copy(place: Path) -> None:
    import shutil
    import sys

    try:
        with place.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Unwritable(error.strerror) from None


def _check(of: str, name: str | None, target: Path, force: bool, as_json: bool) -> None:
    from tracecraft_core.errors import UsageError

    if not name and not re.fullmatch("[0-9a-f]{64}", of):
        raise UsageError(f"which file of {of}? 'tracecraft artifact list {of}' shows them")
    if target == STDOUT and as_json:
        raise UsageError("standard output cannot have both the content and --json: give another place with --output")
    if target != STDOUT and target.exists() and not force:
        raise UsageError(f"{target} is there already: give another place with --output, or --force")


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[int, int], None] | None]:
    """A bar on standard error, where a person watches it."""
    import sys

    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("")
        yield lambda done, total: bar.update(task, completed=done, total=total)
