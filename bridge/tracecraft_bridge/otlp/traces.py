"""Whose trace it is: a run that handed out a ``traceparent``, or one that is made of the trace itself.

A span may come a moment after the step that it belongs to, so before a trace counts as unknown the mirror has to have
written everything that is in the log. A trace of which the root is at hand began here, and nobody is asked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tracecraft_bridge.otlp.home import Home
from tracecraft_bridge.otlp.writing import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracecraft_bridge.database import Connection
    from tracecraft_bridge.progress import Progress
    from tracecraft_bridge.query.pool import Pool
    from tracecraft_core.bus import Bus

REMEMBERED: Final = 20_000
PATIENCE_S: Final = 10.0
"""Seconds that the mirror gets to catch up."""

_RUNS: Final = "SELECT trace, project, run FROM run WHERE trace = ANY(%s) ORDER BY started, run"
_OF_STEP: Final = """
    SELECT k.project, k.run FROM unnest(%s::text[], %s::text[]) AS k(project, run)
    WHERE EXISTS (SELECT FROM step_open o WHERE o.project = k.project AND o.run = k.run AND o.step = ANY(%s))
       OR EXISTS (SELECT FROM step s WHERE s.project = k.project AND s.run = k.run AND s.step = ANY(%s))
    LIMIT 1
"""
_OF_OTHERS: Final = """
    SELECT k.project, k.run FROM unnest(%s::text[], %s::text[]) AS k(project, run)
    JOIN run r ON r.project = k.project AND r.run = k.run
    WHERE NOT EXISTS (SELECT FROM run_writer w WHERE w.project = k.project AND w.run = k.run)
       OR EXISTS (SELECT FROM run_writer w WHERE w.project = k.project AND w.run = k.run
                  AND NOT starts_with(w.writer, %s))
"""


@dataclass(slots=True)
class Asked:
    """What is known of a trace by the telemetry at hand."""

    home: Home
    """Where it goes when nobody else's run has this trace."""
    rooted: bool = False
    """Whether its root is there."""
    parents: set[str] = field(default_factory=set)
    """Spans that are parents and may be somebody's steps."""


class Traces:
    """Finds the homes of traces, each once."""

    def __init__(self, bus: Bus, pool: Pool, progress: Progress) -> None:
        self._bus, self._pool, self._progress = bus, pool, progress
        self._known: dict[str, Home] = {}

    async def homes(self, asked: dict[str, Asked]) -> dict[str, Home]:
        """The home of each trace. Raises ``psycopg.Error``, `WaitTimeout` and what the bus raises."""
        open_ones = {trace: ask for trace, ask in asked.items() if trace not in self._known}
        for trace in [trace for trace, ask in open_ones.items() if ask.rooted]:
            self._known[trace] = open_ones.pop(trace).home
        if open_ones:
            self._known |= await self._look(open_ones)
        found = {trace: self._known[trace] for trace in asked}
        while len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]
        return found

    async def of_others(self, homes: list[Home]) -> set[Home]:
        """Those whose run something but telemetry has written into: it is theirs to begin and to end.

        Raises like `homes`.
        """
        await self._progress.caught_up(self._bus, PATIENCE_S)
        arguments = ([home.project for home in homes], [home.run for home in homes], PREFIX)
        async with self._pool.connection() as connection:
            found = set(await (await connection.execute(_OF_OTHERS, arguments)).fetchall())
        return {home for home in homes if (home.project, home.run) in found}

    async def _look(self, asked: dict[str, Asked]) -> dict[str, Home]:
        async with self._pool.connection() as connection:
            found = await self._find(connection, asked)
            missing = {trace: ask for trace, ask in asked.items() if trace not in found}
            if missing:
                await self._progress.caught_up(self._bus, PATIENCE_S)
                found |= await self._find(connection, missing)
        return {trace: found.get(trace, ask.home) for trace, ask in asked.items()}

    async def _find(self, connection: Connection, asked: dict[str, Asked]) -> dict[str, Home]:
        cursor = await connection.execute(_RUNS, (list(asked),))
        runs: dict[str, list[tuple[str, str]]] = {}
        for trace, project, run in await cursor.fetchall():
            runs.setdefault(trace, []).append((project, run))
        return {trace: await self._choose(connection, asked[trace], where) for trace, where in runs.items()}

    async def _choose(self, connection: Connection, ask: Asked, where: list[tuple[str, str]]) -> Home:
        """The run that is made of the trace; else the one with a step that is a parent here; else the first."""
        trace = ask.home.trace
        own = next((place for place in where if place[1] == trace), None)
        if own is not None:
            return Home(own[0], trace, "trace", trace=trace)
        chosen: Any = where[0]
        if len(where) > 1 and ask.parents:
            steps = list(ask.parents)
            arguments = ([project for project, _ in where], [run for _, run in where], steps, steps)
            chosen = await (await connection.execute(_OF_STEP, arguments)).fetchone() or chosen
        return Home(chosen[0], chosen[1], "inside", trace=trace)


def ask(asked: dict[str, Asked], home: Home, parents: Iterable[str], *, rooted: bool) -> None:
    """Note what one span, or record, says of its trace."""
    known = asked.setdefault(home.trace, Asked(home))
    known.rooted |= rooted
    if len(known.parents) < 1_000:
        known.parents.update(parents)
