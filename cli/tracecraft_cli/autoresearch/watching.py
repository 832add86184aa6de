"""Watching folders: what is new is written to the bus, and noted as written only then."""

# ruff: noqa: TID253 - commands import this module when they run

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING, Final

from tracecraft.artifacts import put_bytes
from tracecraft.redaction import redact
from tracecraft_cli.autoresearch import naming, trial
from tracecraft_cli.output import emit, note
from tracecraft_core import bodies, ids, subjects
from tracecraft_core.errors import TracecraftError, UsageError
from tracecraft_core.quotation import oneline
from tracecraft_core.run_events import Artifact, WriterLeft

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from tracecraft.context import Context
    from tracecraft_cli.autoresearch.folder import Folder, News
    from tracecraft_cli.autoresearch.trial import Batch, Branch, File

AT_ONCE: Final = 256
"""Events that are under way together."""
STORE_S: Final = 2.0
"""Seconds that the artifact store may be away before files wait for their next turn."""
STORE_AGAIN_S: Final = 30.0
"""Seconds until that turn."""
WAITING: Final = 50
"""Files that wait for the artifact store; older ones are given up."""
LONGEST_LINE: Final = 500
"""Characters of what an agent wrote that are printed."""
CLOSE_S: Final = 10.0
"""Seconds for saying that nobody watches any more."""


class Watcher:
    """Follows folders until it is told to stop."""

    def __init__(self, context: Context, folders: Sequence[Folder], *, as_json: bool) -> None:
        self._context, self._folders, self._as_json = context, folders, as_json
        self._open: dict[str, tuple[Branch, str]] = {}
        """Experiments that are watched: by run, with the writer that says so."""
        self._files: list[File] = []
        self._given_up = 0
        self._store_away_until = 0.0
        self._said: set[str] = set()

    async def once(self) -> None:
        """Write all that is there. Raises what the bus raises."""
        for folder in self._folders:
            if not await self._look(folder):
                note(f"tracecraft: {folder.standing()}: nothing new")
            while await self._look(folder):
                pass
        self._store_away_until = 0.0
        await self._deliver_files()
        await self._close()

    async def follow(self, interval: float) -> bool:
        """Write what is there and what comes, until a signal asks to stop; whether it was an interrupt."""
        stop, number = asyncio.Event(), [0]

        def stopping(which: int) -> None:
            number[0] = which
            stop.set()
            for one in (signal.SIGINT, signal.SIGTERM):  # the next one ends it at once
                loop.remove_signal_handler(one)

        loop = asyncio.get_running_loop()
        for one in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(one, stopping, one)
        while not stop.is_set():
            for folder in self._folders:
                await self._patiently(folder, self._all(folder, stop))
            try:
                await asyncio.wait_for(stop.wait(), interval)
            except TimeoutError:
                continue
        await self._close()
        return number[0] == signal.SIGINT

    async def _all(self, folder: Folder, stop: asyncio.Event) -> None:
        while not stop.is_set() and await self._look(folder):
            pass

    async def _patiently(self, folder: Folder, work: Awaitable[None]) -> None:
        """What goes wrong is told once and tried again: the files still have it."""
        try:
            await work
        except UsageError:
            raise
        except (TracecraftError, OSError) as error:
            self._tell(f"{folder.path}: {error}; it is tried again")

    async def _look(self, folder: Folder) -> bool:
        """Write what is new in a folder, one thing of each kind; ``False`` when there is nothing."""
        found = await asyncio.to_thread(folder.look)
        for problem in folder.problems:
            self._tell(f"{folder.path}: results.tsv, {problem}")
        if folder.branch is not None:
            await self._attend(folder.branch)
        for news in found:
            await self._write(news)
            folder.done(news)
            self._print(folder, news)
        await self._deliver_files()
        return bool(found)

    async def _attend(self, branch: Branch) -> None:
        """Say that an experiment is watched, and what its agent goes by once that is known."""
        before, writer = self._open.get(branch.run, (None, ids.fresh()))
        if before is None:
            await self._publish(trial.opened(branch, writer, now()))
        elif branch.metric not in (None, before.metric):
            await self._publish(trial.measured(branch, ids.fresh(), now()))
        self._open[branch.run] = branch, writer

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_S):
                for branch, writer in self._open.values():
                    await self._publish(trial.closed(branch, writer, now()))
        except (TracecraftError, TimeoutError):
            self._tell("the bus did not hear that nobody watches any more: the experiments stay open")
        if lost := len(self._files) + self._given_up:
            note(f"tracecraft: {lost} files could not be put into the artifact store; git still has the changes")

    async def _write(self, news: News) -> None:
        for batch in news.batches:
            await self._publish(batch)
        self._files += news.files
        self._given_up += max(0, len(self._files) - WAITING)
        del self._files[:-WAITING]

    async def _publish(self, batch: Batch) -> None:
        """The first event first and the last one last; their numbers say whether something is missing between."""
        numbered = list(enumerate(batch.events, batch.first))
        for group in (numbered[:1], numbered[1:-1], numbered[1:][-1:]):
            for place in range(0, len(group), AT_ONCE):
                await asyncio.gather(
                    *(self._event(batch, number, *event) for number, event in group[place : place + AT_ONCE])
                )

    async def _event(self, batch: Batch, number: int, event: str, body: bodies.Body) -> None:
        subject = subjects.run_event(self._context.project, batch.run, self._context.agent, event)
        data = redact.json(bodies.encode(body))[0]
        await self._context.bus.publish(subject, data, msg_id=f"{batch.writer}:{number}")

    async def _deliver_files(self) -> None:
        while self._files and time.monotonic() >= self._store_away_until:
            file = self._files[0]
            try:
                stored = await put_bytes(
                    self._context,
                    redact.text(file.content.decode("utf-8", "replace")).encode(),
                    media_type="text/plain",
                    patience=STORE_S,
                )
            except TracecraftError as error:
                self._tell(f"files wait for the artifact store: {error}")
                self._store_away_until = time.monotonic() + STORE_AGAIN_S
                return
            about = Artifact(
                name=file.name, sha256=stored.sha256, size=stored.size, time=now(), media_type="text/plain",
                kind=file.kind,
            )  # fmt: skip
            writer = naming.writer(file.run, "file", file.name, stored.sha256)
            left = WriterLeft(time=now())
            await self._publish(trial.Batch(file.run, writer, [("artifact", about), ("left", left)]))
            self._files.pop(0)

    def _print(self, folder: Folder, news: News) -> None:
        if news.text or news.kind != "running":
            text = redact.text(news.text)
            told = {"event": news.kind, "run": news.run, "folder": str(folder.path), "text": text}
            emit(self._as_json, told, f"{news.kind:9} {news.run}  {oneline(text, LONGEST_LINE)}")

    def _tell(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            note(f"tracecraft: {oneline(redact.text(text), LONGEST_LINE)}")


def now() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000
