"""Runs that leave a stack as a file, and come into another one."""

# ruff: noqa: TID253 - commands import this module when they run

from __future__ import annotations

import asyncio
import dataclasses
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tracecraft import artifacts
from tracecraft.queries import ask
from tracecraft_core.bundle import BundleReader
from tracecraft_core.bundle.packing import hashes, repack
from tracecraft_core.errors import Damaged, FileProblem
from tracecraft_core.queries import BundleAnswer, GetQuestion, Imported, ImportQuestion, RunQuestion

if TYPE_CHECKING:
    from tracecraft.context import Context

EXPORT_S = 600.0
"""Seconds that the bridge may take to write a bundle, or to take one in."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that was written."""

    run: str
    file: str
    size: int
    root: str
    entries: int
    artifacts: int


def open_bundle(path: Path) -> BundleReader:
    """An open bundle. Raises `FileProblem` and `Damaged`."""
    try:
        return BundleReader.open(path)
    except OSError as error:
        raise FileProblem(
            str(path), error.strerror or str(error), "give the file of a bundle, as 'runs export' writes it"
        ) from None


async def export(context: Context, run: str, target: Path | None, *, with_artifacts: bool) -> Exported:
    """Fetch the bundle of a run, made if need be, into a file, which appears whole or not at all."""
    answer = await ask(context, "runs.bundle", RunQuestion(run=run), BundleAnswer, patience=EXPORT_S)
    target = target or Path(f"{answer.run}.tcb")
    wanted = GetQuestion(sha256=answer.bundle.sha256)
    if with_artifacts:
        with tempfile.TemporaryDirectory(prefix=".tracecraft-", dir=target.absolute().parent) as folder:
            await artifacts.get_file(context, wanted, Path(folder) / "plain.tcb")
            await _pack(context, Path(folder), target)
    else:
        await artifacts.get_file(context, wanted, target)
    with open_bundle(target) as reader:
        inside, entries = len(reader.artifacts()), reader.manifest.entries
        return Exported(answer.run, str(target), reader.size, answer.bundle.root, entries, inside)


async def _pack(context: Context, folder: Path, target: Path) -> None:
    with open_bundle(folder / "plain.tcb") as reader:
        files: dict[str, Path] = {}
        for sha256 in await asyncio.to_thread(hashes, reader):
            files[sha256] = folder / sha256
            await artifacts.get_file(context, GetQuestion(sha256=sha256), files[sha256])
        with (folder / "whole.tcb").open("wb") as out:
            await asyncio.to_thread(repack, reader, out, files)
    os.replace(folder / "whole.tcb", target)


async def take_in(context: Context, path: Path) -> Imported:
    """Put a bundle, and the files inside of it, into the stack, in the project that it comes from.

    Raises `Damaged` when it is not whole, `Refused` when a run of its id is here with other content.
    """
    with open_bundle(path) as reader, tempfile.TemporaryDirectory(prefix="tracecraft-") as folder:
        problems = await asyncio.to_thread(reader.verify)
        if problems:
            raise Damaged(str(path), "; ".join(problems[:3]))
        context = dataclasses.replace(context, project=reader.manifest.project)
        for sha256 in reader.artifacts():
            await artifacts.put_file(context, await asyncio.to_thread(_unpacked, reader, sha256, Path(folder)))
        if reader.artifacts():
            path = Path(folder) / "plain.tcb"
            with path.open("wb") as out:
                await asyncio.to_thread(repack, reader, out, {})
        stored = await artifacts.put_file(context, path)
    return await ask(context, "runs.import", ImportQuestion(sha256=stored.sha256), Imported, patience=EXPORT_S)


def _unpacked(reader: BundleReader, sha256: str, folder: Path) -> Path:
    path = folder / "file"
    with path.open("wb") as out:
        for piece in reader.artifact(sha256):
            out.write(piece)
    return path
