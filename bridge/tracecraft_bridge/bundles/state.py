"""The state at a sequence from the rows of the log: what folding all entries gives (`tracecraft_core.cut`), sooner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from psycopg import sql

from tracecraft_bridge.bundles.rows import COLUMNS, MEANWHILE, entry
from tracecraft_core import cut, run_events
from tracecraft_core.facts import fact
from tracecraft_core.queries import LastStep, MailAt, MemoryValue, State, TaskAt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracecraft_bridge.bundles.spans import Epoch
    from tracecraft_bridge.database import Connection

TRIES = 3
"""Newest beginnings of steps of an agent that are looked at: the very newest may be one that cannot be read."""


class StateReader:
    """Reads one state, in a transaction that sees one state of the database.

    With ``runs`` only their steps count.
    """

    def __init__(
        self, connection: Connection, project: str, epoch: Epoch, seq: int, runs: Sequence[str] | None = None
    ) -> None:
        self._connection, self._project, self._seq = connection, project, seq
        self._rows = epoch.rows(0, seq)
        self._runs = None if runs is None else list(runs)

    async def read(self) -> State:
        """The state."""
        return State(
            seq=self._seq,
            time=await self._time(),
            memory=await self._memory(),
            tasks=await self._tasks(),
            mailboxes=await self._mailboxes(),
            steps=await self._steps(),
        )

    async def _all(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        made = sql.SQL(query).format(columns=COLUMNS, rows=self._rows)
        cursor = await self._connection.execute(made, values)
        return await cursor.fetchall()

    async def _time(self) -> str | None:
        found = await self._all(
            "SELECT {columns} FROM log l WHERE {rows} AND l.project = %s AND (l.family = ANY(%s) OR l.family = 'run' "
            "AND (%s::text[] IS NULL OR l.run = ANY(%s))) ORDER BY l.epoch DESC, l.seq DESC LIMIT 1",
            *(self._project, MEANWHILE, self._runs, self._runs),
        )
        return found[0][1] if found else None

    async def _newest(self, family: str) -> list[tuple[Any, ...]]:
        """The newest entry of each key."""
        return await self._all(
            "SELECT DISTINCT ON (l.key) {columns}, l.key FROM log l WHERE {rows} AND l.project = %s AND l.family = %s "
            "AND l.key IS NOT NULL ORDER BY l.key, l.epoch DESC, l.seq DESC",
            *(self._project, family),
        )

    async def _memory(self) -> dict[str, MemoryValue]:
        found = [(row[-1], entry(row)) for row in await self._newest("memory")]
        return {key: cut.memory_value(each) for key, each in found if not cut.is_deletion(each)}

    async def _tasks(self) -> dict[str, TaskAt]:
        tasks: dict[str, TaskAt] = {}
        for row in await self._newest("task"):
            each = entry(row)
            record = cut.body_of(each)
            if isinstance(record, dict) and not cut.is_deletion(each):
                tasks[row[-1]] = TaskAt(record=record, fence=cut.revision(each), seq=each.seq)
        return tasks

    async def _mailboxes(self) -> dict[str, list[MailAt]]:
        owners = await self._owners()
        boxes: dict[str, list[MailAt]] = {agent: [] for agent in owners}
        for row in await self._mail(owners):
            *_, agent, sender, everybody, fetched = row
            mail = cut.mail(entry(row), sender, everybody)
            boxes[agent].append(msgspec.structs.replace(mail, state="fetched") if fetched else mail)
        return boxes

    async def _owners(self) -> dict[str, int]:
        """Agents that have a mailbox, and since when: they joined, or were written to."""
        found = await self._all(
            "SELECT owner, min(since) FROM (SELECT l.agent AS owner, l.seq AS since FROM log l WHERE {rows} "
            "AND l.project = %s AND l.family = 'agent' AND l.event = 'joined' UNION ALL SELECT l.recipient, l.seq "
            "FROM log l WHERE {rows} AND l.project = %s AND l.family = 'msg') x GROUP BY owner",
            *(self._project, self._project),
        )
        return {agent: since for agent, since in found if agent is not None}

    async def _mail(self, owners: dict[str, int]) -> list[tuple[Any, ...]]:
        """Each message in each mailbox that no later receipt of its reader takes out of it."""
        return await self._all(
            """
            WITH receipt AS MATERIALIZED (
                SELECT l.agent AS reader, (l.body->>'id')::numeric AS message, l.body->>'state' AS state, l.seq
                FROM log l WHERE {rows} AND l.project = %s AND l.family = 'receipt'
                  AND jsonb_typeof(l.body) = 'object' AND jsonb_typeof(l.body->'id') = 'number'
            )
            SELECT {columns}, o.agent, l.agent, l.family = 'all', EXISTS (
                SELECT FROM receipt r WHERE r.reader = o.agent AND r.message = l.seq AND r.seq > l.seq
                AND r.state = 'fetched')
            FROM log l JOIN unnest(%s::text[], %s::bigint[]) AS o(agent, since)
              ON (l.family = 'msg' AND l.recipient = o.agent OR l.family = 'all' AND l.agent <> o.agent)
             AND l.seq >= o.since
            WHERE {rows} AND l.project = %s AND l.family IN ('msg', 'all') AND NOT EXISTS (
                SELECT FROM receipt r WHERE r.reader = o.agent AND r.message = l.seq AND r.seq > l.seq
                AND r.state IN ('acked', 'expired'))
            ORDER BY l.epoch, l.seq
            """,
            *(self._project, list(owners), list(owners.values()), self._project),
        )

    async def _steps(self) -> dict[str, LastStep]:
        begun: dict[str, LastStep] = {}
        for row in await self._begun():
            known = fact(entry(row))
            body, agent = known.body, known.tokens[1]
            if isinstance(body, run_events.StepStarted) and known.entry.seq > begun.get(agent, _NEVER).seq:
                begun[agent] = LastStep(
                    run=known.run, step=body.step, name=body.name, kind=body.kind, status="open", seq=known.entry.seq
                )
        return {agent: await self._with_end(agent, last) for agent, last in sorted(begun.items())}

    async def _begun(self) -> list[tuple[Any, ...]]:
        """The newest beginnings of steps of each agent of each run."""
        return await self._all(
            "SELECT x.* FROM run_agent a, LATERAL (SELECT {columns} FROM log l WHERE {rows} AND l.project = a.project "
            "AND l.run = a.run AND l.agent = a.agent AND l.family = 'run' AND l.event = 'step.started' "
            "ORDER BY l.epoch DESC, l.seq DESC LIMIT %s) x "
            "WHERE a.project = %s AND a.first_seq <= %s AND (%s::text[] IS NULL OR a.run = ANY(%s))",
            *(TRIES, self._project, self._seq, self._runs, self._runs),
        )

    async def _with_end(self, agent: str, last: LastStep) -> LastStep:
        found = await self._all(
            "SELECT {columns} FROM log l WHERE {rows} AND l.project = %s AND l.run = %s AND l.agent = %s "
            "AND l.family = 'run' AND l.event = 'step.ended' AND l.seq > %s AND l.body->>'step' = %s "
            "ORDER BY l.epoch, l.seq",
            *(self._project, last.run, agent, last.seq, last.step),
        )
        for row in found:
            body = fact(entry(row)).body
            if isinstance(body, run_events.StepEnded):
                last = msgspec.structs.replace(last, status=body.status)
        return last


_NEVER = LastStep(run="", step="", name="", kind="", status="", seq=-1)
