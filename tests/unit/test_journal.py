"""The journal of a recorder: what is written is read in order, points share records, and a torn record is not there."""

from __future__ import annotations

import json
import os
import random
import threading
from typing import TYPE_CHECKING

import pytest

from tracecraft.recording import budget, journal, spool
from tracecraft.recording.journal import Journal
from tracecraft.recording.position import Position
from tracecraft.recording.reader import Reader, load
from tracecraft.recording.segment import Segment
from tracecraft_core.run_events import MAX_POINTS

if TYPE_CHECKING:
    from pathlib import Path

    from tracecraft.recording.reader import Record


def opened(folder: Path | None) -> Journal:
    return Journal(folder, Position.open(folder))


def everything(reader: Reader) -> list[Record]:
    found = []
    while (record := reader.next()) is not None:
        found.append(record)
    return found


def left(folder: Path) -> list[Record]:
    """What a later process reads."""
    return everything(Reader(load(folder)))


def point(number: int) -> bytes:
    return json.dumps(["loss", number / 7, number, 1]).encode() + b",\n"


def test_events_are_read_in_order_with_their_numbers_also_by_a_later_process(tmp_path: Path) -> None:
    log = opened(tmp_path)
    for number in range(100):
        assert log.event(f"agent{number % 3}", "log", b"%d" % number)
    for records in (everything(Reader(log.segments, log)), left(tmp_path)):
        assert [record.number for record in records] == list(range(1, 101))
        assert [int(record.body) for record in records] == list(range(100))
        assert {(record.agent, record.event) for record in records} == {(f"agent{n}", "log") for n in range(3)}


def test_neighbouring_points_of_one_agent_are_one_event_that_grows_until_it_is_read(tmp_path: Path) -> None:
    log = opened(tmp_path)
    reader = Reader(log.segments, log)
    for number in range(5):
        log.point("a", point(number))
    (first,) = everything(reader)
    for number in range(5, 8):
        log.point("a", point(number))
    log.event("a", "log", b"{}")
    log.point("b", point(8))
    log.event("b", "log", b"{}")
    log.point("b", point(9))
    rest = everything(reader)
    assert [len(json.loads(record.body)["points"]) for record in (first, rest[0], rest[2], rest[4])] == [5, 3, 1, 1]
    assert [record.agent for record in rest] == ["a", "a", "b", "b", "b"]
    assert [record.body for record in left(tmp_path)] == [record.body for record in (first, *rest)]
    assert log.recorded == 12


def test_agents_that_take_turns_have_one_event_each_until_it_is_read(tmp_path: Path) -> None:
    log = opened(tmp_path)
    reader = Reader(log.segments, log)
    for number in range(12):
        log.point("abc"[number % 3], point(number))
    log.event("a", "log", b"{}")
    for number in range(12, 16):
        log.point("ab"[number % 2], point(number))
    first = reader.next()
    assert first is not None
    read = [first, *everything(reader)]
    assert [(one.number, one.agent, one.points) for one in read] == [
        *((1, "a", 4), (2, "b", 4), (3, "c", 4)),
        *((4, "a", 1), (5, "a", 2), (6, "b", 2)),
    ]
    assert [p[2] for p in json.loads(read[1].body)["points"]] == [1, 4, 7, 10]
    log.point("b", point(16))
    assert [record.body for record in left(tmp_path)][:6] == [record.body for record in read]
    assert left(tmp_path)[-1].number == log.number == 7
    reader.back(first.place)
    assert reader.next() == first
    reader.back(first.place)
    assert [record.number for record in everything(reader)] == list(range(1, 8))


def test_a_record_has_no_more_agents_than_it_may() -> None:
    log = opened(None)
    for number in range(200):
        log.point(f"agent-{number // 2 % 100}", point(number))
    records = everything(Reader(log.segments, log))
    assert [record.number for record in records] == list(range(1, log.number + 1))
    assert sum(record.points for record in records) == 200
    assert len(records) == 100
    assert len({record.place.offset for record in records}) == 2


def test_the_next_segment_is_asked_for_once_and_made_ahead(tmp_path: Path) -> None:
    log = opened(tmp_path)
    asked: list[int] = []
    log.want = lambda: asked.append(len(log.segments))
    for _ in range(350):
        log.event("a", "log", b"x" * 10_000)
    assert asked == [1, 2]
    log.prepare()
    made = sorted(tmp_path.glob("*.segment"))
    assert len(made) == 3
    while len(log.segments) == 2:
        log.event("a", "log", b"x" * 10_000)
    assert sorted(tmp_path.glob("*.segment")) == made


def test_an_event_has_no_more_points_than_the_protocol_allows() -> None:
    log = opened(None)
    for _ in range(MAX_POINTS * 2 + 1):
        log.point("a", b'["k",1.0,1,1],\n')
    records = everything(Reader(log.segments, log))
    counts = [len(json.loads(record.body)["points"]) for record in records]
    assert counts == [record.points for record in records] == [MAX_POINTS, MAX_POINTS, 1]


def test_a_record_that_was_torn_or_damaged_ends_what_is_read(tmp_path: Path) -> None:
    log = opened(tmp_path)
    for number in range(10):
        log.event("a", "log", b"%d" % number)
    places = [record.place for record in everything(Reader(log.segments, log))]
    assert len(left(tmp_path)) == 10
    torn = places[9]
    torn.segment.words[torn.offset >> 3] = 0
    assert len(left(tmp_path)) == 9
    damaged = places[5]
    damaged.segment.map[damaged.offset + 12] ^= 0xFF
    assert len(left(tmp_path)) == 5


def test_a_journal_goes_on_in_further_segments_also_when_the_next_one_was_made_ahead(tmp_path: Path) -> None:
    log = opened(tmp_path)
    reader = Reader(log.segments, log)
    random.seed(3)
    bodies = [b"x" * random.randrange(200_000) for _ in range(60)]
    found: list[Record] = []
    for place, body in enumerate(bodies):
        assert log.event("a", "log", body)
        if place % 7 == 0:
            log.prepare()
            found += everything(reader)
    found += everything(reader)
    assert len(log.segments) > 2
    assert [record.body for record in found] == bodies
    assert [record.body for record in left(tmp_path)] == bodies
    assert [record.number for record in left(tmp_path)] == list(range(1, 61))


def test_going_back_reads_the_same_again_though_points_came_meanwhile(tmp_path: Path) -> None:
    log = opened(tmp_path)
    reader = Reader(log.segments, log)
    log.point("a", point(1))
    (first,) = everything(reader)
    log.point("a", point(2))
    reader.back(first.place)
    again = everything(reader)
    assert (again[0].number, again[0].body) == (first.number, first.body)
    assert [record.number for record in again] == [1, 2]


def test_threads_that_write_together_lose_nothing_and_share_no_number() -> None:
    log = opened(None)
    reader = Reader(log.segments, log)
    found: list[Record] = []
    done = threading.Event()

    def write(name: str) -> None:
        for number in range(3000):
            log.event(name, "log", b"%d" % number) if number % 3 else log.point(name, point(number))

    def read() -> None:
        while not done.is_set():
            found.extend(everything(reader))

    threads = [threading.Thread(target=write, args=(f"t{n}",)) for n in range(3)]
    reading = threading.Thread(target=read)
    for thread in (*threads, reading):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    reading.join()
    found.extend(everything(reader))
    assert [record.number for record in found] == list(range(1, log.number + 1))
    for name in ("t0", "t1", "t2"):
        mine = [record for record in found if record.agent == name]
        assert [int(one.body) for one in mine if one.event == "log"] == [n for n in range(3000) if n % 3]
        points = [p[2] for one in mine if one.event == "metric" for p in json.loads(one.body)["points"]]
        assert points == [n for n in range(3000) if not n % 3]


def test_a_record_made_in_the_middle_of_another_one_is_not_lost() -> None:
    log = opened(None)
    make = log._append
    done: list[bool] = []

    def interrupted(agent: str, event: str, body: bytes, kind: bytes) -> bool:
        if not done:  # as a signal handler would
            done.append(log.event("a", "log", b"2"))
        return make(agent, event, body, kind)

    log._append = interrupted  # type: ignore[method-assign]
    log.event("a", "log", b"1")
    assert [record.body for record in everything(Reader(log.segments, log))] == [b"1", b"2"]


def test_over_its_limit_a_journal_drops_and_counts_and_takes_again_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "disk", budget.Budget(journal.FIRST_SEGMENT))
    monkeypatch.setattr(journal, "RETRY_S", 0.0)
    log = opened(tmp_path)
    taken = sum(log.event("a", "log", b"x" * 10_000) for _ in range(200))
    assert taken == 98
    assert log.position.dropped == 102
    assert log.number == log.recorded == taken
    budget.disk.limit += journal.SEGMENT
    assert log.event("a", "log", b"y")
    assert left(tmp_path)[-1].number == taken + 1


def test_in_a_full_journal_there_is_room_for_ends_and_most_of_all_for_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "disk", budget.Budget(journal.FIRST_SEGMENT))
    log = opened(tmp_path)
    while log.event("a", "log", b"x" * 1000):
        pass
    steps = 0
    while log.event("a", "step.ended", b"y" * 1000):
        steps += 1
    assert steps >= 25
    assert not log.event("a", "log", b"x" * 1000)
    assert not log.event("a", "agent.ended", b"x" * 2000)
    assert log.event("a", "ended", b"z" * 30_000)
    assert not log.event("a", "left", b"z" * 30_000)
    last = left(tmp_path)[-1]
    assert (last.number, last.event, last.body) == (log.number, "ended", b"z" * 30_000)


def test_a_journal_that_gets_no_segment_at_all_still_holds_how_a_run_began_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "disk", budget.Budget(0))
    log = opened(tmp_path)
    assert log.event("a", "started", b"{}")
    assert not log.event("a", "log", b"{}")
    assert log.event("a", "ended", b"{}")
    assert [record.event for record in left(tmp_path)] == ["started", "ended"]
    log.close()
    assert not budget.disk.take(1)


def test_the_last_event_goes_from_memory_to_the_disk_where_the_disk_took_no_segment_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = opened(tmp_path)
    assert log.event("a", "log", b"1")
    monkeypatch.setattr(Segment, "create", _refused)
    for _ in range(150):
        assert log.event("a", "log", b"x" * 10_000)
    on_disk = len(left(tmp_path))
    assert on_disk < 100
    assert log.event("a", "ended", b"{}")
    assert log.keep("a", "ended", b'{"dropped":1}')
    last = left(tmp_path)[-1]
    assert (last.number, last.body) == (on_disk + 1, b'{"dropped":1}')
    log.position.note_sent(120, 1)
    assert log.keep("a", "ended", b"{}")
    assert left(tmp_path)[-1].number == log.number


def _refused(path: Path, size: int) -> Segment:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("text", ["abc", "-5", "1.5T"])
def test_a_limit_that_is_none_is_told_once_and_the_default_counts(
    text: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(budget.VARIABLE, text)
    assert [budget.limit(), budget.limit()] == [budget.DEFAULT] * 2
    (told,) = [line.getMessage() for line in caplog.records]
    assert told == f"TRACECRAFT_SPOOL_LIMIT={text!r} is no size like 64M or 2G: the default of 256M counts"


def test_a_folder_of_the_spool_is_its_users_alone(tmp_path: Path) -> None:
    held = spool.create(spool.Owner(project="p", run="r", writer="w", agent="a", server="s"), tmp_path / "spool")
    opened(held.path).event("a", "log", b"{}")
    assert [one.events for one in spool.spools(tmp_path / "spool")] == [1]
    modes = {path.stat().st_mode & 0o077 for path in [held.path, *held.path.iterdir()]}
    assert modes == {0}
    assert spool.take(held.path) is None
    held.release()
    taken = spool.take(held.path)
    assert taken is not None
    taken.remove()
    assert os.listdir(tmp_path / "spool") == []
