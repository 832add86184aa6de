"""A message as a row: subjects, bodies, headers and times, without a database."""

from __future__ import annotations

import datetime

import pytest

from tracecraft_bridge.copy_format import (
    COLUMNS,
    LogMessage,
    RowFormat,
    body_problem,
    escape,
    storable_text,
    week_begins,
    week_of,
)
from tracecraft_bridge.subject_parts import SubjectParts, subject_parts

NULL = b"\\N"
SECOND = 1_000_000_000


def _columns(message: LogMessage, refused: str | None = None) -> dict[str, bytes]:
    line = RowFormat(3).row(message, refused).line
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    return dict(zip(COLUMNS, line[:-1].split(b"\t"), strict=True))


def _message(subject: bytes = b"tc.p.all.a", headers: bytes = b"", body: bytes = b"{}", time: int = 0) -> LogMessage:
    return LogMessage(subject, 7, time, headers, body, b"", 0)


@pytest.mark.parametrize(
    ("subject", "parts"),
    [
        ("tc.p.msg.bob.alice", SubjectParts("msg", "p", agent="alice", recipient="bob")),
        ("tc.p.all.alice", SubjectParts("all", "p", agent="alice")),
        ("tc.p.receipt.alice.bob", SubjectParts("receipt", "p", agent="bob", recipient="alice")),
        ("tc.p.agent.alice.lost", SubjectParts("agent", "p", agent="alice", event="lost")),
        ("tc.p.run.r1.alice.step.ended", SubjectParts("run", "p", agent="alice", run="r1", event="step.ended")),
        ("tc.p.memory.a.b.c", SubjectParts("memory", "p", key="a.b.c")),
        ("tc.p.task.S1.parse", SubjectParts("task", "p", key="S1.parse")),
        ("tc.p.msg.bob", SubjectParts("other", "p")),
        ("tc.p.run.r1.alice", SubjectParts("other", "p")),
        ("tc.p.memory", SubjectParts("other", "p")),
        ("tc.p", SubjectParts("other")),
        ("elsewhere.p.msg.bob.alice", SubjectParts("other")),
    ],
)
def test_a_subject_is_read_by_its_family(subject: str, parts: SubjectParts) -> None:
    assert subject_parts(subject) == parts


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b'{"a":1}', None),
        (b"[1,null,true]", None),
        (rb'{"a":"\\u0000"}', None),
        (rb'{"a":"\u0000"}', "NUL (\\u0000) in a string"),
        (rb'{"a":"\\\u0000"}', "NUL (\\u0000) in a string"),
        (rb'{"\u0000":1}', "NUL (\\u0000) in a string"),
        (b'{"a":"\xff"}', "not UTF-8"),
        (b'{"\xc0\x80":1}', "not UTF-8"),
        (b'{"a":"\xed\xa0\x80"}', "not UTF-8"),
        (b"[" * 5000 + b"]" * 5000, "nested too deep"),
    ],
)
def test_what_jsonb_cannot_hold_is_known_beforehand(body: bytes, problem: str | None) -> None:
    assert body_problem(body) == problem


NOT_JSON = [b"NaN", b"{'a':1}", b"{} {}", b"\xef\xbb\xbf{}", b'"\x01"', rb'"\ud800"', b"\x00", b" "]


@pytest.mark.parametrize("body", NOT_JSON)
def test_what_is_not_json_is_said_so(body: bytes) -> None:
    assert str(body_problem(body)).startswith("not JSON: ")


def test_an_empty_body_is_neither_a_body_nor_a_problem() -> None:
    columns = _columns(_message(body=b""))
    assert (columns["body"], columns["raw"], columns["problem"]) == (NULL, NULL, NULL)


def test_a_bad_body_is_kept_byte_for_byte() -> None:
    columns = _columns(_message(body=b"\x00\xfft\t\n\\"))
    assert (columns["body"], columns["raw"]) == (NULL, b"\\\\x00ff74090a5c")


def test_a_refused_body_is_kept_with_the_reason_of_the_refusal() -> None:
    columns = _columns(_message(body=b"1e-20000"), refused="value overflows\x00 numeric\tformat " + "x" * 500)
    assert columns["raw"] == b"\\\\x31652d3230303030"
    assert columns["problem"].startswith(b"value overflows\\\\x00 numeric\\tformat xxx")
    assert len(columns["problem"]) < 220


def test_white_space_in_a_body_does_not_break_the_line() -> None:
    assert _columns(_message(body=b'{\n\t"a":\r\n"\\n"}'))["body"] == b'{\\n\\t"a":\\r\\n"\\\\n"}'


@pytest.mark.parametrize(("plain", "escaped"), [(b"a", b"a"), (b"\\.", b"\\\\."), (b"\\\t\r\n", b"\\\\\\t\\r\\n")])
def test_copy_sees_its_own_escapes_only(plain: bytes, escaped: bytes) -> None:
    assert escape(plain) == escaped


def test_text_that_postgresql_cannot_hold_is_written_out() -> None:
    assert storable_text(b"a\x00\xff\xc3\xa4") == "a\\x00\\xffä"


def test_headers_become_an_object_and_a_repeated_one_a_list() -> None:
    columns = _columns(_message(headers=b"NATS/1.0 503 odd\r\nA: 1\r\nnonsense\r\nB:2\r\nA:3\r\n\r\n"))
    assert columns["headers"] == b'{"A":["1","3"],"B":"2"}'


SOURCE = b"Nats-Stream-Source: KV_tc_memory 42 $KV.tc_memory.*.> tc.{{wildcard(1)}}.memory.> $KV.tc_memory.p.k\r\n"


def test_a_sourced_change_names_its_revision_and_operation() -> None:
    message = _message(b"tc.p.memory.k", b"NATS/1.0\r\nKV-Operation: DEL\r\n" + SOURCE + b"\r\n", b"")
    columns = _columns(message)
    assert (columns["origin_stream"], columns["origin_seq"]) == (b"KV_tc_memory", b"42")
    assert columns["operation"] == b"DEL"
    assert RowFormat(1).row(message).origin == ("KV_tc_memory", 42)


@pytest.mark.parametrize("number", [b"x", b"-1", b"", "٣".encode(), b"9" * 19, b"9" * 100])
def test_a_source_header_that_lies_names_nothing(number: bytes) -> None:
    message = _message(b"tc.p.task.k", b"NATS/1.0\r\nNats-Stream-Source: S %s x\r\n\r\n" % number)
    assert RowFormat(1).row(message).origin is None
    assert _columns(message)["operation"] == b"PUT"


def test_only_memory_and_task_changes_have_an_origin() -> None:
    columns = _columns(_message(b"tc.p.all.a", b"NATS/1.0\r\n" + SOURCE + b"\r\n"))
    assert (columns["origin_seq"], columns["operation"]) == (NULL, NULL)


def test_a_time_is_cut_to_microseconds_and_never_out_of_range() -> None:
    assert _columns(_message(time=SECOND + 123_456_999))["time"] == b"1970-01-01 00:00:01.123456+00"
    assert _columns(_message(time=-1))["time"] == b"1969-12-31 23:59:59.999999+00"
    assert _columns(_message(time=10**25))["time"] == b"-infinity"


def test_weeks_begin_on_monday() -> None:
    sunday = datetime.datetime(2026, 11, 22, 23, 59, 59, tzinfo=datetime.UTC)
    week = week_of(int(sunday.timestamp()))
    assert week_begins(week) == datetime.date(2026, 11, 16)
    assert week_of(int(sunday.timestamp()) + 1) == week + 1


def test_what_is_remembered_of_subjects_stays_bounded() -> None:
    rows = RowFormat(1)
    for number in range(45_000):
        rows.row(_message(b"tc.p.run.r.a.%d" % number, time=number * SECOND))
    assert len(rows._subjects) <= 20_000
    assert len(rows._seconds) <= 20_000
