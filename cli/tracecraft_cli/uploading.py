"""Files that go into the artifact store and become artifacts of a run."""

# ruff: noqa: TID253 - commands import this module when they run

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, cast

from tracecraft import artifacts
from tracecraft_cli import run_notes, run_writing
from tracecraft_cli.current_run import CurrentRun
from tracecraft_cli.output import emit
from tracecraft_cli.run_book import Event, RunBook
from tracecraft_core.errors import UsageError
from tracecraft_core.run_events import Artifact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tracecraft import AsyncSession
    from tracecraft_cli.options import Common
    from tracecraft_core.run_events import ArtifactKind


def files(name: str, path: Path) -> list[tuple[str, Path]]:
    """Every file with its name in the run. Raises `UsageError` when there is none, or a name that cannot be one."""
    name = name.strip("/")
    if not name or any(part in ("", ".", "..") for part in name.split("/")):
        raise UsageError(f"NAME {name!r} cannot name a file of a run; for example models/best.joblib")
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.is_file())
        if not found:
            raise UsageError(f"{path} has no files in it")
        return [(f"{name}/{file.relative_to(path).as_posix()}", file) for file in found]
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder")
    if not path.is_file():
        raise UsageError(f"{path} is neither a file nor a folder")
    return [(name, path)]


async def upload(
    common: Common,
    session: AsyncSession,
    run_id: str | None,
    wanted: Sequence[tuple[str, Path]],
    kind: str | None,
    step: str | None,
) -> None:
    """Put each file into the store, then say so in the run; a line for each."""
    run = CurrentRun(session.settings).need(run_id)
    book = RunBook.of(session.settings, run)
    with _progress(sum(path.stat().st_size for _, path in wanted)) as progress:
        for name, path in wanted:
            stored = await artifacts.put_file(session.context, path, progress=progress(name))
            kind_ = kind or ("image" if stored.media_type.startswith("image/") else "file")
            artifact = Artifact(
                name=name,
                sha256=stored.sha256,
                size=stored.size,
                time=run_notes.now(),
                media_type=stored.media_type,
                kind=cast("ArtifactKind", kind_),
                step=step,
            )
            run_writing.tell(
                await book.write(session.context.bus, [Event("artifact", artifact)], first=run_notes.joined())
            )
            result = {"run": run, "artifact": name, "sha256": stored.sha256, "size": stored.size, "new": stored.new}
            emit(common.as_json, result, f"{name}  {stored.sha256[:12]}  {stored.size}")


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[str], Callable[[int, int], None] | None]]:
    """A bar on standard error, where a person watches it."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        before = 0

        def begin(name: str) -> Callable[[int, int], None]:
            nonlocal before
            base, before = before, before
            bar.update(task, description=name)

            def advance(done: int, size: int) -> None:
                nonlocal before
                bar.update(task, completed=base + done)
                before = base + size

            return advance

        yield begin
