"""The service on the bus: takes questions, lets the handlers answer, sends answers and refusals."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
import psycopg
from nats import micro

from tracecraft_bridge.artifacts.errors import StoreAway
from tracecraft_bridge.metrics import version
from tracecraft_bridge.query.asked import Asked
from tracecraft_bridge.query.decoding import decode
from tracecraft_bridge.query.pages import MAX_BYTES
from tracecraft_bridge.query.pool import Pool
from tracecraft_bridge.query.refusal import Refusal, away, bad_question, failed
from tracecraft_bridge.query.verbs import HANDLERS
from tracecraft_bridge.reader import NATS_AWAY
from tracecraft_core import names, subjects
from tracecraft_core.errors import InvalidName, TracecraftError, WaitTimeout
from tracecraft_core.queries import VERBS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nats.micro.request import Request

    from tracecraft_bridge.artifacts.store import ObjectStore
    from tracecraft_bridge.metrics import Metrics
    from tracecraft_bridge.progress import Progress
    from tracecraft_bridge.settings import Settings
    from tracecraft_core.bus import Bus
    from tracecraft_core.queries import Answer

logger = logging.getLogger(__name__)

NAME: Final = "tracecraft"
QUEUE: Final = "tracecraft-bridge"
"""Queue group: of several bridges one answers."""
FRESH_S: Final = 2.0
"""Seconds that a question waits for the mirror to reach what the log held when it came."""
AT_ONCE: Final = 64
"""Questions under way; one more is refused, not queued without end."""
RECONNECT_S: Final = 5.0
NOT_ABOUT_THE_LOG: Final = frozenset({"artifacts.put", "artifacts.part", "artifacts.commit"})
"""Verbs whose answers do not come from what is mirrored."""


class Questions:
    """Answers questions while `run` runs."""

    def __init__(self, bus: Bus, settings: Settings, progress: Progress, metrics: Metrics, store: ObjectStore) -> None:
        self._bus, self._settings, self._progress, self._metrics = bus, settings, progress, metrics
        self._store = store
        self._pool = Pool(settings.postgres)
        self._under_way: set[asyncio.Task[None]] = set()
        self._trouble = asyncio.Event()

    async def run(self) -> None:
        """Answer until cancelled, through every reconnection."""
        transport = self._bus.transport
        transport.on_trouble.add(self._note_trouble)
        try:
            while True:
                await self._answer_on_one_client()
        finally:
            transport.on_trouble.discard(self._note_trouble)
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)
            await self._pool.close()

    def _note_trouble(self, _: Exception) -> None:
        self._trouble.set()

    async def _answer_on_one_client(self) -> None:
        """Subscriptions outlive a reconnection, but not the client, which is another when it gave up for good."""
        transport = self._bus.transport
        while not await transport.ready(RECONNECT_S):
            pass
        clients = transport.clients
        service = await micro.add_service(
            transport.client, name=NAME, version=_semantic(version()), description="Questions about what happened"
        )
        try:
            for verb in HANDLERS:
                await service.add_endpoint(
                    name=verb.replace(".", "-"),
                    subject=subjects.query("*", verb),
                    queue_group=QUEUE,
                    handler=self._take(verb),
                )
            while transport.clients == clients:
                await self._trouble.wait()
                self._trouble.clear()
                while not await transport.ready(RECONNECT_S):
                    pass
        finally:
            with contextlib.suppress(Exception):
                await service.stop()

    def _take(self, verb: str) -> Callable[[Request], Awaitable[None]]:
        """nats-py hands over one message after the other: each question gets a task, so that none waits for another."""

        async def take(request: Request) -> None:
            if len(self._under_way) >= AT_ONCE:
                await _refuse(request, away("the bridge is busy", f"{AT_ONCE} questions are under way; ask again"))
                return
            task = asyncio.create_task(self._reply(verb, request))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

        return take

    async def _reply(self, verb: str, request: Request) -> None:
        began, code = time.perf_counter(), "200"
        try:
            body = await self._answer(verb, request)
            with contextlib.suppress(*NATS_AWAY):
                await request.respond(body)
        except Refusal as refusal:
            code = str(refusal.code)
            await _refuse(request, refusal)
        except Exception as error:
            code = "500"
            logger.exception("%s failed", verb)
            await _refuse(request, failed(verb, error))
        finally:
            self._metrics.questions.labels(verb, code).observe(time.perf_counter() - began)

    async def _answer(self, verb: str, request: Request) -> bytes:
        project = _project(request.subject)
        question = decode(request.data, VERBS[verb][0])
        asked = Asked(project, self._pool, self._bus, self._settings, self._progress, self._metrics, self._store)
        try:
            if verb not in NOT_ABOUT_THE_LOG:
                await self._catch_up()
                await self._check_whole()
            answer: Answer = await HANDLERS[verb](asked, question)
        except StoreAway as error:
            raise away(error.reason, error.hint) from None
        except psycopg.errors.QueryCanceled:
            raise away("the answer takes too long", "ask for less: a filter, a shorter time, a smaller page") from None
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise away(f"PostgreSQL: {str(error).strip() or type(error).__name__}") from None
        except (*NATS_AWAY, TracecraftError) as error:
            raise away(str(error) or type(error).__name__) from None
        body = msgspec.json.encode(answer)
        if len(body) > MAX_BYTES:
            raise bad_question(f"the answer has {len(body):,} bytes, over {MAX_BYTES:,}", "ask for a smaller page")
        return body

    async def _check_whole(self) -> None:
        """Refuse while the projections are being made again: an answer would leave out what is not there yet."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute("SELECT version FROM projection")).fetchone()
        if row is not None and row[0] == 0:
            raise away("the bridge is making its tables again from the log", "ask again in a while")

    async def _catch_up(self) -> None:
        with contextlib.suppress(WaitTimeout):
            await self._progress.caught_up(self._bus, FRESH_S)


async def _refuse(request: Request, refusal: Refusal) -> None:
    said = " ".join(str(refusal).split()).encode("ascii", "replace").decode()  # a header is one line of ASCII
    with contextlib.suppress(*NATS_AWAY):
        await request.respond_error(str(refusal.code), said[:500], msgspec.json.encode(refusal.body()))


def _project(subject: str) -> str:
    try:
        return names.project(subject.split(".")[1])
    except InvalidName as error:
        raise bad_question(str(error)) from None


def _semantic(value: str) -> str:
    """A version as NATS services must have it."""
    parts: list[Any] = [part for part in value.split(".")[:3] if part.isdigit()]
    return ".".join(parts) if len(parts) == 3 else "0.0.0"
