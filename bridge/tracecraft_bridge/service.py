"""The life of a bridge: connect, stand by, mirror, and begin again whenever a server was away."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Final

import psycopg

from tracecraft_bridge.artifacts.errors import StoreAway
from tracecraft_bridge.artifacts.store import ObjectStore
from tracecraft_bridge.artifacts.sweep import Sweep
from tracecraft_bridge.beats import Beats
from tracecraft_bridge.bundles.duty import Bundles
from tracecraft_bridge.bundles.making import Maker
from tracecraft_bridge.continuity import CheckpointMoved
from tracecraft_bridge.database import Connection, connect
from tracecraft_bridge.health import Health
from tracecraft_bridge.leadership import lead, try_lead
from tracecraft_bridge.listener import Listener
from tracecraft_bridge.lost_agents import LostAgents
from tracecraft_bridge.lost_events import LostEvents
from tracecraft_bridge.lost_runs import LostRuns
from tracecraft_bridge.lost_tasks import LostTasks
from tracecraft_bridge.metrics import Metrics
from tracecraft_bridge.mirror import Mirror
from tracecraft_bridge.partitions import Partitions
from tracecraft_bridge.progress import Progress
from tracecraft_bridge.projector import Projector
from tracecraft_bridge.query.service import Questions
from tracecraft_bridge.reader import NATS_AWAY
from tracecraft_bridge.retention import Retention
from tracecraft_bridge.revisions import Revisions
from tracecraft_bridge.run_retention import RunRetention
from tracecraft_bridge.schema import migrate
from tracecraft_core import extras
from tracecraft_core.bus import Bus
from tracecraft_core.errors import BusUnreachable, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from tracecraft_bridge.otlp.door import Door
    from tracecraft_bridge.settings import Settings

logger = logging.getLogger(__name__)

PAUSE_S: Final = (0.1, 3.0)
"""Shortest and longest pause between two attempts to reach a server."""
PATIENCE_S: Final = 5.0
"""Seconds for which one request to NATS repeats itself before the session counts as broken."""
STOP_S: Final = 5.0
"""Seconds that the batch at hand gets when the bridge is told to stop."""

SWEEPS: Final = 24
"""Sweeps of the artifact store within the grace of a blob, unless housekeeping is rarer."""


class Service:
    """One bridge. `run` returns after `stop`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._bus = Bus(settings.bus, name="tracecraft-bridge", patience=PATIENCE_S)
        self._health = Health(nats_up=self._bus.transport.connected.is_set)
        self._metrics = Metrics()
        self._listener = Listener(settings.listen, self._health, self._metrics)
        self._progress = Progress()
        self._store = ObjectStore(settings.store)
        self._projector = Projector()
        self._mirror = Mirror(self._bus, settings.batch, self._health, self._metrics, self._progress, self._projector)
        self._door = self._open_door()
        self._stopped = asyncio.Event()
        self._leading = False

    def _open_door(self) -> Door | None:
        """The receiver of OpenTelemetry, if there is to be one; protobuf is loaded only then."""
        if self._settings.otlp is None:
            return None
        try:
            from tracecraft_bridge.otlp.door import Door
        except ModuleNotFoundError as error:
            raise UsageError(
                f"TRACECRAFT_OTLP_TOKEN is set and {error.name} is missing: {extras.install('bridge')}"
            ) from None

        store = None if self._settings.store is None else self._store
        return Door(self._settings, self._settings.otlp, store, self._progress, self._metrics, self._health)

    def stop(self) -> None:
        """End `run` soon, after the batch at hand."""
        logger.info("stopping")
        self._health.role = "stopping"
        self._mirror.stop()
        self._stopped.set()

    async def run(self) -> None:
        """Be a bridge until told to stop."""
        self._listener.start()
        logger.info("health and metrics at http://%s:%d", *self._listener.address)
        if self._door is not None:
            self._door.start()
        work = asyncio.create_task(self._work())
        stopped = asyncio.create_task(self._stopped.wait())
        await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({work}, timeout=STOP_S if self._health.role == "stopping" and self._leading else 0)
        for task in (work, stopped):
            task.cancel()
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await work
        finally:
            if self._door is not None:
                await self._door.stop()
            await self._bus.close()
            self._store.close()
            self._listener.stop()

    async def _work(self) -> None:
        await self._connect_bus()
        pause = PAUSE_S[0]
        while not self._stopped.is_set():
            try:
                async with await connect(self._settings.postgres, "mirror") as connection:
                    pause = PAUSE_S[0]
                    await self._term(connection)
            except (psycopg.Error, OSError, CheckpointMoved) as error:
                self._note_absence(error)
            finally:
                self._leading = self._health.postgres_up = False
            if not self._stopped.is_set():
                await asyncio.sleep(pause)
                pause = min(pause * 2, PAUSE_S[1])

    async def _connect_bus(self) -> None:
        pause = PAUSE_S[0]
        while True:
            try:
                await self._bus.connect()
            except BusUnreachable as error:
                if self._health.problem is None:
                    logger.warning("%s", error)
                self._health.problem = str(error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, PAUSE_S[1])
            else:
                self._health.problem = None
                return

    def _note_absence(self, error: BaseException) -> None:
        if self._stopped.is_set():
            return
        reason = f"PostgreSQL: {str(error).strip() or type(error).__name__}"
        if reason != self._health.problem:
            logger.warning("not mirroring: %s", reason)
        self._health.problem = reason

    async def _term(self, connection: Connection) -> None:
        """Stand by until this bridge is the active one, then mirror and see to the duties, until PostgreSQL is gone."""
        for migration in await migrate(connection):
            logger.info("schema %d (%s) applied", migration.version, migration.name)
        self._health.postgres_up, self._health.problem = True, None
        if not await try_lead(connection):  # one that will mirror in a moment is no standby: it is not ready yet
            self._health.role = "standby"
            await lead(connection)
        self._leading, self._health.role = True, "active"
        logger.info("active")
        await Partitions(connection).ahead()
        duties = [asyncio.create_task(duty) for duty in self._duties()]
        try:
            await self._mirror.run(connection)
        finally:
            for duty in duties:
                duty.cancel()
            await asyncio.gather(*duties, return_exceptions=True)

    def _duties(self) -> list[Coroutine[Any, Any, None]]:
        return [
            self._steadily("lost tasks", self._lost_tasks),
            self._steadily("lost agents", self._lost_agents),
            self._steadily("lost runs", self._lost_runs),
            self._steadily("beats", self._beats),
            self._steadily("questions", self._questions),
            self._steadily("housekeeping", self._housekeeping),
            self._steadily("sweep of the artifact store", self._sweep),
            self._steadily("bundles", self._bundles),
            *([] if self._door is None else [self._steadily("silent telemetry", self._door.end_silent)]),
        ]

    async def _steadily(self, name: str, duty: Callable[[Connection], Awaitable[None]]) -> None:
        """Begin a duty again whenever a server was away; it has a connection of its own, not to hold up the mirror."""
        pause, said = PAUSE_S[0], ""
        while True:
            try:
                async with await connect(self._settings.postgres, name) as connection:
                    await duty(connection)
            except (*NATS_AWAY, psycopg.Error, StoreAway) as error:
                reason = str(error).strip() or type(error).__name__
                if reason != said:
                    logger.warning("%s: interrupted, %s", name, reason)
                said = reason
            except Exception:
                logger.exception("%s failed and begins again", name)
            await asyncio.sleep(pause)
            pause = min(pause * 2, PAUSE_S[1])

    async def _lost_tasks(self, connection: Connection) -> None:
        await LostTasks(self._bus, LostEvents(self._bus, connection, self._progress, self._metrics)).run()

    async def _lost_agents(self, connection: Connection) -> None:
        events = LostEvents(self._bus, connection, self._progress, self._metrics)
        await LostAgents(self._bus, connection, events, self._progress).run()

    async def _lost_runs(self, connection: Connection) -> None:
        await LostRuns(self._bus, connection, self._progress, self._metrics).run()

    async def _beats(self, _: Connection) -> None:
        await Beats(self._bus, self._progress, self._metrics).run()

    async def _questions(self, _: Connection) -> None:
        await Questions(self._bus, self._settings, self._progress, self._metrics, self._store).run()

    async def _housekeeping(self, connection: Connection) -> None:
        revisions = Revisions(self._bus, connection, self._settings.trim_age, self._metrics)
        while True:
            await asyncio.sleep(self._settings.housekeeping)
            if self._settings.retention is not None:
                await Retention(self._bus, connection, self._settings.retention, self._metrics).purge()
            await revisions.trim()
            if self._settings.run_retention is not None:
                await RunRetention(connection, self._settings.run_retention).apply()
            await Partitions(connection).ahead()

    async def _bundles(self, connection: Connection) -> None:
        if self._settings.store is None:
            await asyncio.Event().wait()
        await Bundles(Maker(self._settings.postgres, self._store, self._settings.bundle_seed)).run(connection)

    async def _sweep(self, connection: Connection) -> None:
        sweep = Sweep(self._bus, connection, self._progress, self._store, self._settings.blob_grace)
        while self._settings.store is not None:
            await asyncio.sleep(max(self._settings.housekeeping, self._settings.blob_grace / SWEEPS))
            await sweep.sweep()
        await asyncio.Event().wait()
