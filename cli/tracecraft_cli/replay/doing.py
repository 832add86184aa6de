"""What ``tracecraft replay`` does with a run, once it is open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tracecraft_cli.amounts import counted
from tracecraft_cli.output import emit, note
from tracecraft_cli.replay import printed, where
from tracecraft_cli.replay.axis import LOOK, zero
from tracecraft_cli.replay.moment import microseconds, moment
from tracecraft_cli.replay.tape import Tape
from tracecraft_core.quotation import neutral

if TYPE_CHECKING:
    from pathlib import Path

    from tracecraft import AsyncSession
    from tracecraft_cli.replay.moment import Moment
    from tracecraft_cli.replay.printed import Choice
    from tracecraft_cli.replay.tape import Source
    from tracecraft_core.divergence import Divergence
    from tracecraft_core.queries import Entry

BEFORE = 3
"""Moments that are shown before two runs part."""
WHOLE = "'tracecraft log --since SEQ --limit 1 --json' prints one whole, as does the screen of 'tracecraft replay'"


async def show(source: Source) -> None:
    """The screen."""
    from tracecraft_cli.replay.screen import ReplayApp

    await ReplayApp(Tape(source)).run_async()


async def print_moments(as_json: bool, source: Source, choice: Choice) -> None:
    """A line a moment."""

    cut = 0

    def write(one: Moment, start: int) -> None:
        nonlocal cut
        shown = None if as_json else printed.line(one, start)
        cut += printed.is_cut(one, shown)
        emit(as_json, printed.as_json(one) if as_json else None, shown)

    tape = Tape(source)
    told = await printed.print_tape(tape, choice, write)
    if cut:
        note(f"lines that are cut: {cut}; {WHOLE}")
    if not told:
        note(f"nothing to show of the {len(tape.moments)} moments of run {source.run}")


async def state(as_json: bool, source: Source, at: str) -> None:
    """Everything as it was."""
    place = where.parse(at)
    if place.offset is not None:
        place = where.Where(seq=await Tape(source).until(place))
    elif place.needs_start:
        place = place.since(microseconds((await source.entry(source.first_seq)).time))
    found = await source.state_at(place)
    emit(as_json, msgspec.to_builtins(found) if as_json else None, None if as_json else printed.state_text(found))


async def diff(as_json: bool, source: Source, other: Source) -> None:
    """Where two runs part."""
    import asyncio

    from tracecraft_core.divergence import first_divergence

    entries = await _all(source)
    others = await _all(other)
    found = await asyncio.to_thread(first_divergence, entries, others)
    await other.close()
    common = _common(entries, found) if found else []
    starts = _start(source, entries), _start(other, others)
    facts = {"a": source.run, "b": other.run, "divergence": None if found is None else _facts(found)}
    shown = _told(source, other, found, common, starts)
    emit(as_json, {**facts, "before": [printed.as_json(one) for one in common]}, shown)


def _common(entries: list[Entry], found: Divergence) -> list[Moment]:
    """The last moments of the agent before its first difference."""
    until = found.a.seq if found.a else entries[-1].seq + 1 if entries else 0
    moments = (moment(entry) for entry in entries if entry.seq < until)
    return [one for one in moments if one.agent == found.agent][-BEFORE:]


def _start(source: Source, entries: list[Entry]) -> int:
    """From where offsets are counted, as on a tape."""
    first = [moment(entry) for entry in entries[:LOOK]]
    begun = zero(first, source.run)
    return begun if begun is not None else first[0].time if first else 0


def _told(
    source: Source, other: Source, found: Divergence | None, common: list[Moment], starts: tuple[int, int]
) -> str:
    if found is None:
        return f"{source.run} and {other.run} did the same"
    alike = f"{found.agent} did {counted(found.place, 'thing')} alike" + (", at last:" if common else "")
    before = [f"  {printed.line(one, starts[0])}" for one in common]
    sides = [_side("a", source, found.a, starts[0]), _side("b", other, found.b, starts[1])]
    return "\n".join([neutral(found.what), "", alike, *before, "", *sides])


def _side(name: str, source: Source, entry: Entry | None, start: int) -> str:
    if entry is None:
        return f"{name} {source.run}: nothing more"
    return f"{name} {source.run}: {printed.line(moment(entry), start)}"


def _facts(found: Divergence) -> dict[str, Any]:
    return {
        "agent": found.agent,
        "alike": found.place,
        "what": found.what,
        "differences": [{"field": each.field, "a": each.a, "b": each.b} for each in found.differences],
        "a": None if found.a is None else msgspec.to_builtins(found.a),
        "b": None if found.b is None else msgspec.to_builtins(found.b),
    }


async def write_page(as_json: bool, source: Source, path: Path) -> None:
    """The page."""
    import asyncio

    from tracecraft_cli.replay.html import page
    from tracecraft_core.errors import FileProblem

    tape = Tape(source)
    text = (await page(tape)).encode()
    try:
        await asyncio.to_thread(path.write_bytes, text)
    except OSError as error:
        raise FileProblem(str(path), error.strerror or str(error), "name a file that can be written") from None
    facts = {"file": str(path), "bytes": len(text), "moments": len(tape.moments), "steps": len(tape.steps)}
    has = f"{counted(len(tape.moments), 'moment')}, {counted(len(tape.steps), 'step')}"
    emit(as_json, facts, f"{path}: {has}; open it in a browser")


async def publish(as_json: bool, source: Source, session: AsyncSession, speed: float) -> None:
    """The run again, on the bus."""
    from tracecraft_cli.replay.bus import publish_again
    from tracecraft_core.rebroadcast import renamed_runs, replay_project

    entries = await _all(source)
    runs = renamed_runs(entries, source.project)
    count = await publish_again(session.context.bus, source.project, entries, speed=speed, runs=runs)
    project, run = replay_project(source.project), runs.get(source.run, source.run)
    facts = {"published": count, "project": project, "run": run}
    emit(as_json, facts, f"{counted(count, 'entry', 'entries')} published under tc.{project}.> as run {run}")


async def _all(source: Source) -> list[Entry]:
    return [entry async for page in source.pages() for entry in page]
