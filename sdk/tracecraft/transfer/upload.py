"""An upload: ask where to, put what is not there yet, have it checked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from tracecraft.queries import ask
from tracecraft.transfer import http
from tracecraft.transfer.progress import Meter, in_thread, persist, while_wanted
from tracecraft_core.errors import Damaged, NotFound, Refused
from tracecraft_core.queries import CommitQuestion, Committed, PartQuestion, PartUrls, PutQuestion, Upload

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Mapping

    from tracecraft.context import Context
    from tracecraft.transfer.progress import Progress
    from tracecraft.transfer.source import Source

AT_ONCE: Final = 2
"""Parts on their way at the same time."""
URLS: Final = 16
"""Addresses asked for at once: more might expire before they are used."""
ASKED_S: Final = 5.0
"""Seconds in which the bridge answers, without what it reads back; one that was killed with a question never does."""
READ_BACK: Final = 20e6
"""Bytes a second that the bridge reads back at least."""
DOUBTS: Final = 2
"""How often content is sent again that did not arrive as it was sent."""


class Uploader:
    """Puts one content. Returns whether bytes travelled."""

    def __init__(
        self, context: Context, source: Source, media_type: str, progress: Progress | None, patience: float
    ) -> None:
        self._context, self._source, self._media_type = context, source, media_type
        self._meter = Meter(source.size, progress, patience)
        self._doubts = 0

    async def run(self) -> bool:
        """Put it, however often the bridge or the store is away meanwhile."""
        return await persist(self._meter, self._attempt)

    async def _attempt(self) -> bool | None:
        source = self._source
        question = PutQuestion(sha256=source.sha256, size=source.size, media_type=self._media_type)
        upload = await ask(self._context, "artifacts.put", question, Upload, patience=ASKED_S)
        if upload.exists:
            self._meter.set(source.size)
            return False
        try:
            if upload.part_size is None:
                await self._put_whole(upload)
            else:
                await self._put_parts(upload, upload.part_size)
            await asyncio.to_thread(source.check)
            await self._commit(str(upload.id))
        except (http.Gone, NotFound):  # another process has finished it, or it was given up
            self._doubt("the upload ended before it was complete")
        except Refused as error:
            self._doubt(str(error))
        else:
            return True
        return None

    def _doubt(self, problem: str) -> None:
        self._doubts += 1
        if self._doubts > DOUBTS:
            raise Damaged("what arrived in the artifact store", problem)

    async def _put_whole(self, upload: Upload) -> None:
        self._meter.set(0)
        await self._send(str(upload.url), 0, self._source.size, upload.headers)

    async def _put_parts(self, upload: Upload, part_size: int) -> None:
        size = self._source.size
        lengths = {n + 1: min(part_size, size - n * part_size) for n in range(-(-size // part_size))}
        self._meter.set(sum(lengths[number] for number in upload.done))
        open_ = [number for number in lengths if number not in set(upload.done)]
        for at in range(0, len(open_), URLS):
            await self._put_some(str(upload.id), {n: lengths[n] for n in open_[at : at + URLS]}, part_size)

    async def _put_some(self, id: str, lengths: Mapping[int, int], part_size: int) -> None:
        question = PartQuestion(id=id, parts=list(lengths))
        given = await ask(self._context, "artifacts.part", question, PartUrls, patience=ASKED_S)
        limit = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> None:
            async with limit:
                await self._send(given.urls[str(number)], (number - 1) * part_size, lengths[number], {})

        tasks = [asyncio.create_task(one(number)) for number in lengths]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, url: str, first: int, length: int, headers: Mapping[str, str]) -> None:
        def work(ended: threading.Event) -> None:
            http.put(url, length, while_wanted(self._metered(first, length), ended), headers)

        await in_thread(work)

    def _metered(self, first: int, length: int) -> Iterator[bytes | memoryview]:
        for block in self._source.blocks(first, length):
            yield block
            self._meter.moved(len(block))

    async def _commit(self, id: str) -> None:
        patience = ASKED_S + self._source.size / READ_BACK
        await ask(self._context, "artifacts.commit", CommitQuestion(id=id), Committed, patience=patience)
