"""Asking the bridge for all of a run, page by page, and giving it on as spans: no more than a page is in memory."""

# ruff: noqa: TID253 - commands import this module when they run

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from tracecraft.artifacts import get_bytes
from tracecraft.queries import ask
from tracecraft_cli.otlp_export import received, spans, usage, values
from tracecraft_cli.otlp_export.hops import MOST, Hops, Sent, message_of
from tracecraft_cli.otlp_export.span import step_id
from tracecraft_core import queries, semconv
from tracecraft_core.errors import TracecraftError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from tracecraft.context import Context
    from tracecraft_cli.otlp_export.span import Link, Span
    from tracecraft_cli.otlp_export.spans import Traced
    from tracecraft_cli.otlp_export.values import Value, Values
    from tracecraft_core.queries import Entry, StepRow

STEPS: Final = 250
"""Steps that are in memory at a time, with their values."""
GAP: Final = 200
"""Entries that are cheaper to read and drop than to ask around."""
VALUE_BYTES: Final = 256 * 1024
"""A value in the artifact store up to this size is fetched; of a larger one the preview is exported."""
FETCHES: Final = 8
"""Values that are fetched at once."""
LOOKUPS: Final = 1_000
"""Messages of other runs that are asked for one by one."""


@dataclass(slots=True)
class Told:
    """What the export is, besides its spans."""

    runs: list[str] = field(default_factory=list)
    spans: int = 0
    links: int = 0
    open: int = 0
    """Steps and runs that have not ended."""
    previews: int = 0
    """Values that are not whole."""
    unlinked: int = 0
    """Messages that were read in a run and sent outside of every run, or by one that is gone."""
    unread: int = 0
    """Messages that were sent in a run and read by nobody in it: whoever read them did so elsewhere."""


class Gatherer:
    """Reads one run and the runs inside of it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._traces: dict[str, str] = {}
        self.told = Told()

    async def spans(self, run: str, parent: Traced | None = None) -> AsyncIterator[Span]:
        """All spans, those of a run's steps first, then its agents and itself, then the runs inside of it."""
        async for span in self._run(await self.open(run), parent):
            self.told.spans += 1
            self.told.links += len(span.links)
            yield span

    async def open(self, run: str) -> Traced:
        """A run with its place in a trace. Raises `NotFound`, `BridgeAway`."""
        detail = await ask(self._context, "runs.get", queries.RunQuestion(run=run), queries.RunDetail)
        self._traces[detail.row.run] = detail.trace
        return spans.Traced(detail, await self._parent_span(detail.row.run))

    async def _parent_span(self, run: str) -> str | None:
        """The remote span that the run's first event names."""
        question = queries.EntriesQuestion(run=run, only_run=True, families=["run"], limit=100)
        page = await ask(self._context, "log.entries", question, queries.EntriesPage)
        for entry in page.entries:
            if len(tokens := entry.subject.split(".")) == 6 and tokens[5] == "started" and isinstance(entry.body, dict):
                span = entry.body.get("span")
                return step_id(span) if isinstance(span, str) else None
        return None

    async def _run(self, traced: Traced, parent: Traced | None) -> AsyncIterator[Span]:
        row = traced.detail.row
        self.told.runs.append(row.run)
        self.told.open += row.status == "running"
        links = await self._links(traced)
        whole, by_agent = usage.Sum(), {one.agent: usage.Sum() for one in traced.detail.agents}
        extents: dict[str, spans.Extent] = {}
        sent: Counter[str] = Counter()
        async for step, found in self._steps(row.run):
            sent[step.agent] += received.is_span(found.tags)
            is_root = traced.received_root is None and received.is_root(step, found.tags)
            if is_root:
                traced = replace(traced, received_root=step_id(step.step))
            self.told.open += step.status == "open"
            self.told.previews += bool(found.input.cut) + bool(found.output.cut)
            whole.add(step.tokens, step.cost)
            if step.agent in by_agent:
                by_agent[step.agent].add(step.tokens, step.cost)
            span = spans.step_span(traced, step, found, links.pop(step_id(step.step), ()))
            extents[step.agent] = extents.get(step.agent, spans.Extent(span.start, span.end)).around(span)
            yield spans.with_run(span, traced) if is_root else span
            if step.kind != "llm" and step.tokens is not None and usage.any_of(step.tokens, step.cost):
                yield spans.usage_span(traced, step, step.tokens, step.cost, step_id(step.step), step.model)
        for agent in traced.detail.agents:
            within = traced.root
            if (
                not agent.steps or sent[agent.agent] < agent.steps
            ):  # else its own span is among the steps, if it had one
                within = traced.agent(agent.agent)
                yield spans.agent_span(traced, agent, links.pop(within, ()), extents.get(agent.agent))
            if rest := by_agent[agent.agent].rest(agent.tokens, agent.cost):
                whole.add(*rest)
                yield spans.usage_span(traced, agent, *rest, within, agent.model)
        if rest := whole.rest(row.tokens, row.cost):
            yield spans.usage_span(traced, row, *rest, traced.root, None)
        if traced.received_root is None:
            yield spans.run_span(traced, parent)
        for child in traced.detail.children:
            async for span in self._run(await self.open(child.run), traced):
                yield span

    async def _steps(self, run: str) -> AsyncIterator[tuple[StepRow, Values]]:
        cursor: str | None = None
        while True:
            question = queries.StepsList(run=run, limit=STEPS, cursor=cursor)
            page = await ask(self._context, "runs.steps", question, queries.StepsPage)
            entries = await self._entries(run, page.steps)
            found = [(row, values.read(row, entries)) for row in page.steps]
            await self._fetch(value for _, one in found for value in (one.input, one.output) if value.sha256)
            for row, one in found:
                yield row, one
            if (cursor := page.next) is None:
                return

    async def _entries(self, run: str, rows: Iterable[StepRow]) -> dict[tuple[int, str], Entry]:
        """The entries that these steps need, by sequence and event."""
        wanted = {seq for row in rows for seq in values.places(row)}
        found: dict[tuple[int, str], Entry] = {}
        for first, last in values.ranges(wanted, GAP):
            async for entry in self._log(run, ["run"], first, last):
                if entry.seq in wanted:
                    found[entry.seq, entry.subject.split(".", 5)[-1]] = entry
        return found

    async def _log(
        self, run: str, families: list[str], first: int = 0, last: int | None = None
    ) -> AsyncIterator[Entry]:
        cursor: str | None = None
        while True:
            question = queries.EntriesQuestion(
                run=run, only_run=True, families=families, first_seq=first, last_seq=last, cursor=cursor
            )
            page = await ask(self._context, "log.entries", question, queries.EntriesPage)
            for entry in page.entries:
                yield entry
            if (cursor := page.next) is None:
                return

    async def _fetch(self, found: Iterable[Value]) -> None:
        """Values that lie in the artifact store, those that are small enough."""
        turn = asyncio.Semaphore(FETCHES)

        async def one(value: Value) -> None:
            async with turn:
                await self._fill(value)

        await asyncio.gather(*(one(value) for value in found if value.size <= VALUE_BYTES))

    async def _fill(self, value: Value) -> None:
        try:
            data = await get_bytes(self._context, queries.GetQuestion(sha256=value.sha256))
            value.content, value.cut = json.loads(data), ""
        except ValueError:
            value.cut += ", which is no JSON"
        except TracecraftError as error:
            value.cut += f", which cannot be had: {error}"

    async def _links(self, traced: Traced) -> dict[str, tuple[Link, ...]]:
        """Links of messages, by the span that they belong to."""
        hops = Hops(traced.detail.row.run)
        seen = 0
        async for entry in self._log(hops.run, ["msg", "all", "receipt"]):
            hops.take((entry,))
            if (seen := seen + 1) == MOST:
                break
        await self._look_up(hops, traced.detail.epoch)
        found: dict[str, list[Link]] = {}
        for (message, _), place in hops.read.items():
            target = await self._target(hops.sent.get(message))
            if target is None:
                self.told.unlinked += 1
                continue
            span = step_id(place.step) if place.step else traced.agent(place.agent)
            found.setdefault(span, []).append(hops.sent[message].link(*target))
        self.told.unread += len(hops.sent.keys() - {message for message, _ in hops.read})
        return {span: tuple(links) for span, links in found.items()}

    async def _look_up(self, hops: Hops, epoch: int) -> None:
        for seq in hops.unknown()[:LOOKUPS]:
            question = queries.EntriesQuestion(first_seq=seq, last_seq=seq, epoch=epoch, limit=1)
            page = await ask(self._context, "log.entries", question, queries.EntriesPage)
            for entry in page.entries:
                if (sent := message_of(entry)) is not None:
                    hops.sent[seq] = sent

    async def _target(self, sent: Sent | None) -> tuple[str, str] | None:
        """Trace and span of where a message was sent."""
        if sent is None or sent.place is None:
            return None if sent is None else sent.trace
        trace = await self._trace(sent.place.run)
        if trace is None:
            return sent.trace
        if sent.place.step:
            return trace, step_id(sent.place.step)
        return trace, spans.agent_id(self._context.project, sent.place.run, sent.sender)

    async def _trace(self, run: str) -> str | None:
        if run not in self._traces:
            try:
                detail = await ask(self._context, "runs.get", queries.RunQuestion(run=run), queries.RunDetail)
                self._traces[run] = detail.trace
            except TracecraftError:
                self._traces[run] = ""
        return self._traces[run] or None


def resource(traced: Traced) -> dict[str, object]:
    """What is the same for all spans of an export: where the run was started."""
    detail, origin = traced.detail, traced.detail.origin
    return {
        "service.name": "tracecraft",
        "service.namespace": detail.project,
        "openinference.project.name": detail.project,
        semconv.EXPORTED_FROM: detail.project,
        "host.name": origin.get("host"),
        "process.pid": origin.get("pid"),
        "process.command_line": origin.get("command"),
        "process.runtime.version": origin.get("python"),
        "service.version": origin.get("tracecraft"),
        "vcs.ref.head.revision": origin.get("git_commit"),
        "vcs.ref.head.name": origin.get("git_branch"),
    }
