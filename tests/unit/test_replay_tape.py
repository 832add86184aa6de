"""The tape: what an entry says, and finding the way among moments that are not loaded yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.recorded import START, Recording, a_search, delivered_late
from tracecraft_cli.replay.moment import ALL, KINDS, clock, moment, rfc3339
from tracecraft_cli.replay.printed import as_json, line
from tracecraft_cli.replay.rows import MOST_ROWS, rows
from tracecraft_cli.replay.steps import Span
from tracecraft_cli.replay.tape import Tape
from tracecraft_cli.replay.where import Where, parse
from tracecraft_cli.replay.wording import SHOWN
from tracecraft_core import run_events
from tracecraft_core.errors import NotFound, UsageError
from tracecraft_core.queries import Entry

if TYPE_CHECKING:
    from tracecraft_cli.replay.moment import Moment

STEP = "00f067aa0ba902b7"


async def whole(recording: Recording) -> Tape:
    tape = Tape(recording)
    await tape.load()
    return tape


def said(subject: str, body: Any, headers: dict[str, str] | None = None) -> Moment:
    return moment(Entry(seq=1, time="2026-11-18T11:06:40Z", subject=subject, headers=headers or {}, body=body))


@pytest.mark.parametrize(
    ("subject", "body", "headers", "kind", "agent", "text"),
    [
        ("tc.p.msg.bob.ann", {"text": "over\nto you"}, {}, "message", "ann", "to bob: over to you"),
        ("tc.p.msg.bob.ann", {"text": "ready?", "kind": "question"}, {}, "message", "ann", "question to bob: ready?"),
        ("tc.p.all.ann", {"text": "hi"}, {}, "message", "ann", "to all: hi"),
        ("tc.p.receipt.ann.bob", {"id": 7, "state": "acked"}, {}, "receipt", "bob", "acknowledges #7 of ann"),
        ("tc.p.memory.a.b", {"x": 1}, {"Tc-Agent": "ann"}, "memory", "ann", 'memory a.b = {"x": 1}'),
        ("tc.p.memory.a", None, {}, "memory", "", "memory a = null"),
        ("tc.p.memory.a", None, {"KV-Operation": "DEL"}, "memory", "", "memory a deleted"),
        ("tc.p.task.S1", {"state": "claimed", "owner": "ann"}, {}, "task", "ann", "task S1 claimed"),
        ("tc.p.agent.bob.lost", {"task": "S1", "reason": "lapsed"}, {}, "agent", "bob", "lost task S1: lapsed"),
        ("tc.p.run.r.ann.log", {"text": "mind", "level": "warning", "time": 1}, {}, "log", "ann", "warning: mind"),
        ("tc.p.run.r.ann.tomorrow", {"x": 1}, {}, "other", "ann", 'tomorrow {"x": 1}'),
        ("tc.p.elsewhere", [1], {}, "other", "", "tc.p.elsewhere [1]"),
    ],
)
def test_an_entry_says_who_did_what(
    subject: str, body: Any, headers: dict[str, str], kind: str, agent: str, text: str
) -> None:
    one = said(subject, body, headers)
    assert (one.kind, one.agent, one.text) == (kind, agent, text)


def test_lines_say_when_it_happened_and_where_the_clocks_are_far_apart() -> None:
    """A message has the server's time only; an event of a run its writer's too, which counts."""
    start = 1_000_000_000_000_000
    entries = [
        ("tc.p.msg.bob.ann", "2001-09-09T01:46:40.010Z", {"text": "hi"}),
        ("tc.p.run.r.ann.log", "2001-09-09T01:46:40.011Z", {"text": "before", "time": start + 3_000}),
        ("tc.p.run.r.ann.log", "2001-09-09T01:46:40.012Z", {"text": "waited", "time": start - 65_000_000}),
        ("tc.p.run.r.ann.log", "2001-09-09T01:46:40.013Z", {"text": "fast", "time": start + 5_013_000}),
    ]
    moments = [
        moment(Entry(seq=seq, time=time, subject=subject, body=body))
        for seq, (subject, time, body) in enumerate(entries)
    ]
    assert [line(one, start) for one in moments] == [
        "0  +0:00.010  ann  to bob: hi",
        "1  +0:00.003  ann  before",
        "2  -1:05.000 (in the log 1:05.012 later)  ann  waited",
        "3  +0:05.013 (a clock 0:05.000 ahead)  ann  fast",
    ]
    told = as_json(moments[2])
    assert (told["time"], told["stored"]) == ("2001-09-09T01:45:35.000000Z", "2001-09-09T01:46:40.012000Z")


async def test_offsets_agree_with_durations_however_events_came_into_the_log() -> None:
    """A writer hands over several events at once: the server's times of them say nothing."""
    recording = Recording()
    began = recording.now
    recording.message("bob", "ann", "sent before the run began")
    recording.tick(40_000)  # the way of the run's first events to the log
    recording.event("ann", "started", name="search", time=began + 10_000)
    recording.event("ann", "step.started", step=STEP, name="fit", time=began + 12_000)
    recording.event("ann", "step.ended", step=STEP, name="fit", time=began + 37_000, duration=25_000)
    tape = await whole(recording)
    assert [line(one, tape.zero).split("  ", 1)[1] for one in tape.moments] == [
        "-0:00.010  bob  to ann: sent before the run began",
        "+0:00.000  ann  run search begins",
        "+0:00.002  ann  begins fit",
        "+0:00.027  ann  ends fit after 25 ms",
    ]


async def test_a_run_whose_requests_each_say_when_it_began_began_at_the_first_of_these_times() -> None:
    recording = Recording()
    for late in (5_000, 3_000, 0):
        recording.tick(1_000)
        recording.event("otel", "started", name="trace", time=START + late)
    tape = Tape(recording)
    await tape.begin()
    assert tape.zero == START


@pytest.mark.parametrize("event", run_events.EVENTS)
@pytest.mark.parametrize(
    "body", [None, "words", [1], {}, {"time": "late", "step": 3, "name": None, "error": "x"}, {"points": 3}]
)
def test_an_event_that_is_not_what_it_should_be_is_a_moment_too(event: str, body: Any) -> None:
    one = said(f"tc.p.run.r.ann.{event}", body)
    assert one.agent == "ann"
    assert one.kind in KINDS
    assert one.time == START


def test_a_long_line_is_cut_and_has_no_line_breaks() -> None:
    one = said("tc.p.msg.bob.ann", {"text": "x\n" * 5000})
    assert len(one.text) <= SHOWN
    assert "\n" not in one.text


def test_a_writers_clock_counts_unless_it_cannot_be_right() -> None:
    believed = said("tc.p.run.r.ann.log", {"text": "x", "time": START - 1_000_000})
    ahead = said("tc.p.run.r.ann.log", {"text": "x", "time": START + 10**12})
    assert (believed.time, ahead.time) == (START - 1_000_000, START)


async def test_steps_have_their_times_parents_and_what_they_used() -> None:
    tape = await whole(a_search())
    asked = tape.steps.by_id(f"{2:016x}")
    assert asked is not None
    assert (asked.agent, asked.kind, asked.status, asked.parent) == ("lead", "llm", "ok", f"{1:016x}")
    assert (asked.start - START, asked.end and asked.end - asked.start) == (240_000, 900_000)
    assert (asked.tokens, asked.cost, asked.model) == (1540, 0.0123, "gpt-5")
    failed = [span.name for span in tape.steps if span.status == "error"]
    assert failed == ["train forest", "fit trees=250"]


async def test_an_end_without_a_beginning_is_a_step_all_the_same() -> None:
    recording = Recording()
    recording.tick(500_000)
    recording.end("ann", STEP, "fit", 300_000)
    (span,) = (await whole(recording)).steps
    assert (span.start - START, span.end and span.end - START, span.status) == (200_000, 500_000, "ok")


async def test_a_message_knows_its_receiver_and_a_receipt_its_message() -> None:
    tape = await whole(a_search())
    sent = [one for one in tape.moments if one.kind == "message"]
    read = [one for one in tape.moments if one.kind == "receipt"]
    assert [one.to for one in sent] == ["ann", "bob", "lead", "lead"]
    assert [one.message for one in read] == [one.seq for one in sent[:3]]
    assert said("tc.p.all.ann", {"text": "x"}).to == ALL


async def test_only_as_much_is_loaded_as_is_looked_at() -> None:
    recording = a_search()
    tape = Tape(recording)
    assert await tape.following(0) == 1
    assert recording.read == 1
    await tape.seek(Where(seq=100))
    assert recording.read == 4
    assert not tape.whole


async def test_the_way_leads_to_the_next_of_the_agent_and_to_errors() -> None:
    tape = Tape(a_search())
    first = await tape.following(0, "bob")
    assert first == 3
    assert await tape.following(first, "bob") == 15
    assert tape.preceding(15, "bob") == 3
    assert tape.preceding(3, "bob") is None
    failed = await tape.next_error(0)
    assert failed is not None
    assert "out of memory" in tape.moments[failed].text
    later = await tape.next_error(failed)
    assert later is not None
    assert tape.previous_error(later) == failed
    await tape.load()
    assert await tape.next_error(tape.errors[-1]) is None
    assert await tape.following(len(tape.moments) - 1) is None


async def test_a_search_goes_round() -> None:
    tape = Tape(a_search())
    place = await tape.search("TAKE THE FOREST", 0)
    assert place is not None
    assert tape.moments[place].text == "to bob: take the forest"
    assert await tape.search("budget", place) == 0
    assert await tape.search("no such words", place) is None


async def test_a_place_is_found_by_sequence_time_and_step() -> None:
    tape = Tape(a_search())
    assert tape.moments[await tape.seek(parse("45"))].seq == 50
    assert tape.moments[await tape.seek(parse("99999"))].text == "run finished"
    at = tape.moments[await tape.seek(parse("2026-11-18T11:06:40.200Z"))]
    assert at.text == "begins ask the model (llm)"
    assert tape.moments[await tape.seek(parse(f"{4:016x}"))].text == "begins train forest (task)"
    with pytest.raises(NotFound):
        await tape.seek(parse("f" * 16))


@pytest.mark.parametrize("text", ["", "yesterday", "-3", "0x10", "2026-13-01", "+5", "25:00:00", "+1:99"])
def test_a_place_that_is_none_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UsageError, match="for example 1200"):
        parse(text)


def _span(start: int, end: int | None, parent: str | None = None, step: str = "s", agent: str = "a") -> Span:
    return Span("r", step, agent, "n", "other", start, start, end=end, parent=parent)


def test_rows_put_children_below_and_what_overlaps_side_by_side() -> None:
    spans = [
        _span(0, 100, step="p"),
        _span(10, 50, "p", "c"),
        _span(20, 60, "p", "d"),
        _span(55, 70, "p", "e"),
        _span(60, None, step="q"),
        _span(80, 90, "p", "f", agent="b"),
    ]
    assert rows(spans, 1000) == [0, 1, 2, 1, 2, 0]


def test_a_lane_has_a_bounded_number_of_rows() -> None:
    spans = [_span(start, 1000, step=str(start)) for start in range(50)]
    assert max(rows(spans, 1000)) == MOST_ROWS - 1
    nested = [_span(depth, 1000, str(depth - 1), str(depth)) for depth in range(50)]
    assert max(rows(nested, 1000)) == MOST_ROWS - 1


async def test_what_goes_into_a_step_stands_at_its_start_and_what_comes_out_at_its_end() -> None:
    """Where the writer did not say when; a metric says it of each point."""
    tape = await whole(delivered_late())
    at = {one.event: one.time - START for one in tape.moments}
    assert (at["step.input"], at["step.output"], at["metric"]) == (100_000, 500_000, 400_000)


async def test_a_step_value_that_says_when_it_was_recorded_stands_there() -> None:
    recording = Recording()
    recording.begin("ann", STEP, "fit")
    recording.tick(5_000)
    recording.event("ann", "step.input", step=STEP, value=1, time=START + 2_000)
    (_, value) = (await whole(recording)).moments
    assert value.time - START == 2_000


async def test_the_end_of_a_run_inside_of_the_run_carries_its_name() -> None:
    recording = Recording()
    recording.event("ann", "started", name="search")
    own, recording.run = recording.run, "20261118-110640-ch2222"
    recording.event("bob", "started", name="inner", parent=own)
    recording.event("bob", "left")
    recording.event("bob", "ended", status="failed", error=run_events.Failure(type="ValueError", message="no"))
    recording.run = own
    recording.event("ann", "ended", status="finished")
    assert [one.text for one in (await whole(recording)).moments] == [
        "run search begins",
        "run inner begins",
        "a process leaves the run inner",
        "run inner failed: ValueError: no",
        "run finished",
    ]


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("11:06:41", "11:06:41.999999"),
        ("11:06:41.5", "11:06:41.599999"),
        ("2026-11-18T11:06:40.5Z", "11:06:40.500000"),
    ],
)
def test_a_place_as_the_tools_print_it_takes_in_all_of_its_last_digit(text: str, time: str) -> None:
    found = parse(text).since(START).time
    assert found is not None
    assert clock(found) == time


def test_a_time_of_day_before_the_runs_start_is_of_the_next_day() -> None:
    late = START + 12 * 3_600_000_000  # 23:06:40
    found = parse("00:10:00").since(late).time
    assert found is not None
    assert rfc3339(found) == "2026-11-19T00:10:00.999999Z"


async def test_an_offset_as_it_is_printed_leads_to_the_moment_beside_it() -> None:
    recording = Recording()
    recording.event("ann", "log", text="one")
    recording.tick(270_900)
    recording.event("ann", "log", text="two")
    recording.tick(200)
    recording.event("ann", "log", text="three")
    tape = Tape(recording)
    assert tape.moments[await tape.seek(parse("+0:00.270"))].text == "two"


@pytest.mark.parametrize(
    ("text", "seq"),
    [
        ("-0:00.001", 0),  # before everything
        ("-0:00.000", 10),
        ("+0:00", 40),
        ("+0:00.100", 30),  # its line stands behind one of a later time
        ("+0:00.200", 10),  # the next that is printed so or later had not happened yet
        ("+0:00.300", 20),
        ("+9:00", 40),
    ],
)
async def test_what_had_happened_at_an_offset_goes_up_to_the_line_that_is_printed_with_it(text: str, seq: int) -> None:
    recording = Recording()
    recording.event("ann", "started", name="search")
    recording.tick(400_000)
    recording.event("ann", "log", text="later", time=START + 300_000)
    recording.event("bob", "log", text="earlier", time=START + 100_000)
    recording.tick(100_000)
    recording.event("ann", "log", text="last")
    assert await Tape(recording).until(parse(text)) == (seq or recording.first_seq - 1)


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("hi", False),
        ("x" * 229, False),
        ("x" * 230, True),
        ("x" * 5000, True),
        ("a" + " " * 300 + "b", True),
        ("a \n" * 70, False),
    ],
    ids=["short", "as-long-as-may-be", "one-more", "long", "blanks", "lines"],
)
def test_a_moment_whose_line_is_cut_says_so(text: str, cut: bool) -> None:
    one = said("tc.p.msg.bob.alexander", {"text": f"q: {text}"})
    assert one.cut is cut
    assert as_json(one)["cut"] is cut


@pytest.mark.parametrize("took", [2**63, 2**64, -1, 1e300])
def test_a_duration_that_cannot_be_is_not_told(took: float) -> None:
    told = said("tc.p.run.r1.ann.step.ended", {"step": STEP, "name": "train", "duration": took, "time": 0})
    assert told.text == "ends train after ?"
