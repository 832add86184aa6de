"""Where a tape comes from: a bundle in a file, a bundle in the artifact store, or the log of a server."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from tracecraft_cli.replay.moment import microseconds, rfc3339
from tracecraft_cli.replay.totals import of_row
from tracecraft_core.errors import NotFound, UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path
    from typing import TypeVar

    from tracecraft.context import Context
    from tracecraft_cli.replay.tape import Source
    from tracecraft_cli.replay.where import Where
    from tracecraft_core.bundle import BundleReader
    from tracecraft_core.queries import BundleRow, Entry, RunDetail, RunRow, State

    _T = TypeVar("_T")

SUFFIX: Final = ".tcb"


def is_file(named: str) -> bool:
    """Whether an argument names a bundle's file rather than a run."""
    return named.endswith(SUFFIX) or "/" in named


class BundleTape:
    """A bundle, read chunk by chunk in a thread: what it costs to open does not depend on its length."""

    def __init__(self, reader: BundleReader, context: Context | None = None, row: RunRow | None = None) -> None:
        import asyncio

        self._reader, self._context, self._turn = reader, context, asyncio.Lock()
        manifest = reader.manifest
        self.project, self.run, self.title = manifest.project, manifest.run, manifest.summary.name
        self.first_seq, self.last_seq = manifest.first_seq, manifest.last_seq
        agents = {mark.agent: _words(mark.role, mark.model) for mark in reader.skeleton.agents}
        self.about: dict[str, Any] = {"status": manifest.summary.status, "agents": agents}
        if row is not None:
            self.about["totals"] = of_row(row)

    @property
    def reads(self) -> int:
        """Range reads so far."""
        return self._reader.source.reads

    async def pages(self) -> AsyncIterator[Sequence[Entry]]:
        """The chunks."""
        for chunk in self._reader.chunks:
            yield await self._apart(partial(self._chunk, chunk.first_seq, chunk.last_seq))

    def _chunk(self, first: int, last: int) -> list[Entry]:
        return list(self._reader.entries(first, last))

    async def entry(self, seq: int) -> Entry:
        """One entry, from its chunk."""
        found = await self._apart(lambda: self._reader.entry(seq))
        if found is None:
            raise NotFound("entry", str(seq), f"the bundle goes from {self.first_seq} to {self.last_seq}")
        return found

    async def state(self, seq: int) -> State:
        """Folded from the checkpoint."""
        return await self._apart(lambda: self._reader.state_at(seq))

    async def state_at(self, where: Where) -> State:
        """Found by the skeleton or by the chunks' times, then folded."""
        return await self._apart(lambda: self._reader.state_at(self._seq(where)))

    def _seq(self, where: Where) -> int:
        if where.step is not None:
            row = self._reader.skeleton.step_row(where.step)
            if row is None:
                raise NotFound("step", where.step, f"it is not in run {self.run}")
            return self._reader.skeleton.step(row).first_seq
        if where.time is None:
            return where.seq or 0
        found = self.first_seq - 1
        for chunk in self._reader.chunks:
            if microseconds(chunk.first_time) > where.time:
                break
            for entry in self._reader.entries(chunk.first_seq, chunk.last_seq):
                if microseconds(entry.time) > where.time:
                    return found
                found = entry.seq
        return found

    async def blob(self, sha256: str) -> bytes:
        """From the bundle when it was made with its artifacts, else from the store of the server."""
        if sha256 in self._reader.artifacts():
            return await self._apart(lambda: b"".join(self._reader.artifact(sha256)))
        if self._context is None:
            raise NotFound("file", sha256, "the bundle does not hold it; give the run's id in place of the file")
        return await _stored(self._context, sha256)

    async def close(self) -> None:
        """Close the file."""
        self._reader.close()

    async def _apart(self, work: Callable[[], _T]) -> _T:
        """In a thread, one at a time."""
        import asyncio

        async with self._turn:
            return await asyncio.to_thread(work)


class ServerTape:
    """A run in the log of a server, asked for page by page."""

    def __init__(self, context: Context, detail: RunDetail) -> None:
        self._context, self._epoch = context, detail.epoch
        self.project, self.run, self.title = detail.project, detail.row.run, detail.row.name
        self.first_seq, self.last_seq = detail.first_seq, detail.last_seq
        agents = {row.agent: _words(row.role, row.model) for row in detail.agents}
        self.about: dict[str, Any] = {"status": detail.row.status, "agents": agents, "totals": of_row(detail.row)}

    async def pages(self) -> AsyncIterator[Sequence[Entry]]:
        """``log.entries``."""
        from tracecraft.queries import ask
        from tracecraft_core.queries import EntriesPage, EntriesQuestion

        cursor: str | None = None
        while True:
            question = EntriesQuestion(run=self.run, epoch=self._epoch, cursor=cursor)
            page = await ask(self._context, "log.entries", question, EntriesPage)
            if page.entries:
                yield page.entries
            if page.next is None:
                return
            cursor = page.next

    async def entry(self, seq: int) -> Entry:
        """``log.entries`` of one sequence."""
        from tracecraft.queries import ask
        from tracecraft_core.queries import EntriesPage, EntriesQuestion

        question = EntriesQuestion(run=self.run, epoch=self._epoch, first_seq=seq, last_seq=seq, limit=1)
        page = await ask(self._context, "log.entries", question, EntriesPage)
        if not page.entries:
            raise NotFound("entry", str(seq))
        return page.entries[0]

    async def state(self, seq: int) -> State:
        """``state.at``."""
        from tracecraft.queries import ask
        from tracecraft_core.queries import State, StateQuestion

        return await ask(self._context, "state.at", StateQuestion(seq=seq, run=self.run, epoch=self._epoch), State)

    async def state_at(self, where: Where) -> State:
        """``state.at``, which finds the place itself."""
        from tracecraft.queries import ask
        from tracecraft_core.queries import State, StateQuestion

        time = None if where.time is None else rfc3339(where.time)
        question = StateQuestion(seq=where.seq, time=time, step=where.step, run=self.run, epoch=self._epoch)
        return await ask(self._context, "state.at", question, State)

    async def blob(self, sha256: str) -> bytes:
        """From the artifact store."""
        return await _stored(self._context, sha256)

    async def close(self) -> None:
        """The session closes the connection."""


def open_file(path: Path) -> BundleTape:
    """A bundle in a file. Raises `UsageError` when it cannot be read, `Damaged` when it is no bundle."""
    from tracecraft_core.bundle import BundleReader

    try:
        return BundleTape(BundleReader.open(path))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


async def open_run(context: Context, run: str) -> Source:
    """A run by its id or the end of it: its bundle when there is one of all of it, else the log."""
    from tracecraft.queries import ask
    from tracecraft_core.queries import RunDetail, RunQuestion

    detail = await ask(context, "runs.get", RunQuestion(run=run), RunDetail)
    made = detail.bundle
    if made is not None and detail.row.status != "running" and _covers(made, detail):
        bundle = await _remote(context, made.sha256, detail.row)
        if bundle is not None:
            return bundle
    return ServerTape(context, detail)


def _covers(made: BundleRow, detail: RunDetail) -> bool:
    return made.first_seq <= detail.first_seq and made.last_seq >= detail.last_seq


async def _remote(context: Context, sha256: str, row: RunRow) -> BundleTape | None:
    """A bundle in the artifact store, or ``None`` when it cannot be had: the log has the same."""
    import asyncio

    from tracecraft.queries import ask
    from tracecraft_core.bundle import BundleReader, HttpSource
    from tracecraft_core.errors import BridgeAway, Damaged
    from tracecraft_core.queries import Download, GetQuestion

    loop = asyncio.get_running_loop()

    async def address() -> str:
        return (await ask(context, "artifacts.get", GetQuestion(sha256=sha256), Download)).url

    with contextlib.suppress(BridgeAway, Damaged, NotFound):
        source = HttpSource(await address(), lambda: asyncio.run_coroutine_threadsafe(address(), loop).result())
        return BundleTape(await asyncio.to_thread(BundleReader.open, source), context, row)
    return None


async def _stored(context: Context, sha256: str) -> bytes:
    from tracecraft.artifacts import get_bytes
    from tracecraft_core.queries import GetQuestion

    return await get_bytes(context, GetQuestion(sha256=sha256))


def _words(*words: str | None) -> str:
    return ", ".join(word for word in words if word)
