"""The transcripts of four coding agents, as one stream of records."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.coding_sessions import (
    CLAUDE,
    CODEX,
    CODEX_FORK,
    HERMES,
    OPENCLAW,
    SUBAGENT,
    assistant,
    read,
    text,
    tool,
    user,
)
from tests.support.coding_sessions import answer as answered
from tracecraft.transcripts import records
from tracecraft.transcripts.claude import ClaudeParser
from tracecraft.transcripts.codex import CodexParser
from tracecraft.transcripts.records import Record
from tracecraft.transcripts.sources import MAIN
from tracecraft.transcripts.thread import Thread
from tracecraft_core.queries import Tokens

if TYPE_CHECKING:
    from tests.support.coding_sessions import Home
    from tracecraft.transcripts.sources import Places, Source


def of(kind: type[Any], found: list[Record]) -> list[Any]:
    return [record for record in found if isinstance(record, kind)]


def total(found: list[Record]) -> Tokens:
    used = [record.tokens for record in of(records.Used, found)]
    names = ("input", "cache_read", "cache_write", "output", "reasoning")
    return Tokens(**{name: sum(getattr(one, name) for one in used) for name in names})


def claude(*lines: dict[str, Any]) -> tuple[list[Record], ClaudeParser]:
    parser, found = ClaudeParser(Thread()), list[Record]()
    for place, line in enumerate(lines):
        found += parser.feed(json.dumps(line).encode(), place)
    return found, parser


def codex(*lines: dict[str, Any], parser: CodexParser | None = None) -> tuple[list[Record], CodexParser]:
    parser, found = parser or CodexParser(Thread()), list[Record]()
    for place, line in enumerate(lines):
        found += parser.feed(json.dumps(line).encode(), place)
    return found, parser


# -- the real ones -----------------------------------------------------------------------------------------------


def test_outside_of_git_a_session_of_claude_code_has_no_branch() -> None:
    found, _ = claude(user(1, "hi") | {"cwd": "/srv", "gitBranch": "HEAD"}, user(2, "more") | {"gitBranch": "main"})
    assert [facts.branch for facts in of(records.Facts, found)] == ["", "main"]


def test_a_session_of_claude_code_is_read_whole(coding_home: Home) -> None:
    places: Places = {}
    found = read("claude", coding_home.claude, places=places)

    facts = of(records.Facts, found)[0]
    assert (facts.cwd, facts.branch, facts.version) == ("/srv/widgets", "master", "2.1.330")
    assert [turn.text for turn in of(records.Turn, found) if turn.by == "user"][:3] == [
        "DELEGATE please, then say done",
        "SUBAGENT: look",
        "AGAIN",
    ]
    first = of(records.Call, found)[0]
    assert (first.key, first.model, first.input) == (
        "msg_bacb34bb",
        "claude-sonnet-4-5",
        [{"role": "user", "text": "DELEGATE please, then say done"}],
    )
    assert first.output["text"] == "Let me look."
    assert first.output["thinking"] == "I should look around first."
    assert [call["name"] for call in first.output["tool_calls"]] == ["Bash", "Read"]
    ended = {tool.name: tool for tool in of(records.ToolEnded, found)}
    assert (ended["Read"].error or "").startswith("File does not exist.")
    assert (ended["Bash"].error, ended["Bash"].output) == (None, "from sub")
    assert [note.name for note in of(records.Noted, found)] == ["compaction", "compaction"]
    assert of(records.Spent, found)[0].cost == 0.0041445
    assert not any(place.thread.unknown for place in places.values())


def test_usage_of_claude_code_counts_once_a_message(coding_home: Home) -> None:
    assert total(read("claude", coding_home.claude)) == Tokens(input=728, cache_read=210, cache_write=35, output=168)


def test_a_sub_agent_lies_inside_of_the_step_that_called_it(coding_home: Home) -> None:
    found = read("claude", coding_home.claude)

    (handoff,) = [one for one in of(records.ToolStarted, found) if one.kind == "handoff"]
    assert handoff.name == "hand off to general-purpose"
    began = of(records.AgentStarted, found)
    assert {(one.agent, one.role) for one in began} == {(SUBAGENT, "general-purpose")}
    (asked,) = [turn for turn in of(records.Turn, found) if turn.agent]
    assert (asked.parent, asked.text) == (handoff.key, "SUBAGENT: look")
    assert [call.parent for call in of(records.Call, found) if call.agent] == [asked.key, asked.key]
    (ended,) = of(records.AgentEnded, found)
    assert (ended.agent, ended.error) == (SUBAGENT, None)
    times = [record.time for record in found if isinstance(record, records.Turn | records.Call)]
    assert times == sorted(times)


def test_a_rollout_of_codex_is_read_whole(coding_home: Home) -> None:
    places: Places = {}
    found = read("codex", coding_home.codex, places=places)

    assert [turn.text for turn in of(records.Turn, found)] == ["look around and say done", "AGAIN"]
    assert [call.output for call in of(records.Call, found)][1:] == ["All done: 42.", "hello again"]
    assert [(one.name, one.error) for one in of(records.ToolEnded, found)] == [
        ("exec_command", None),
        ("exec_command", "exit code 3"),
    ]
    assert total(found) == Tokens(input=276, cache_read=90, output=75, reasoning=6)
    assert not places[MAIN].thread.unknown


def test_a_fork_of_codex_says_of_what(coding_home: Home) -> None:
    assert of(records.Facts, read("codex", coding_home.fork))[0].forked_from == CODEX
    assert CODEX_FORK in coding_home.fork.name


def test_a_session_of_hermes_is_read_whole(coding_home: Home) -> None:
    found = read("hermes", coding_home.hermes, HERMES)

    assert [turn.text for turn in of(records.Turn, found)] == ["look around and say done"]
    assert [(one.name, one.error) for one in of(records.ToolEnded, found)] == [
        ("terminal", None),
        ("terminal", "exit code 3"),
    ]
    assert total(found) == Tokens(input=191, cache_read=60, output=50, reasoning=4)


def test_a_session_of_openclaw_is_read_whole_with_its_cost(coding_home: Home) -> None:
    found = read("openclaw", coding_home.openclaw, OPENCLAW)

    assert [turn.text for turn in of(records.Turn, found)] == ["look around and say done"]
    assert [(one.name, one.error) for one in of(records.ToolEnded, found)] == [("exec", None), ("exec", "exit code 3")]
    assert total(found) == Tokens(input=197, cache_read=60, output=50, reasoning=4)
    assert sum(used.cost for used in of(records.Used, found)) == pytest.approx(0.000311)


@pytest.mark.parametrize("source", ["claude", "codex", "hermes", "openclaw"])
def test_reading_in_portions_gives_the_same_records_once(coding_home: Home, source: Source) -> None:
    path, session = coding_home.path(source)
    whole = read(source, path, session)
    from tracecraft.transcripts.sources import open_transcript

    places: Places = {}
    found: list[Record] = []
    for _ in range(200):  # a new process each time, with what the checkpoint kept
        transcript = open_transcript(source, path, session, places)
        found += transcript.read(1)
        if not transcript.more:
            break
    found += transcript.settle()
    assert sorted(map(repr, found)) == sorted(map(repr, whole))


# -- what Claude Code does -----------------------------------------------------------------------------------------


def test_a_call_is_held_until_something_follows() -> None:
    found, parser = claude(user(1, "go"), *assistant(2, text("one"), text("two")))
    assert not of(records.Call, found)
    call, used = parser.settle()
    assert isinstance(call, records.Call)
    assert isinstance(used, records.Used)
    assert (call.output, used.key) == ("one\ntwo", call.key)


def test_a_block_that_comes_late_is_told_as_more_of_the_call() -> None:
    one, two = assistant(2, tool("t1"), tool("t2"))
    found, _ = claude(user(1, "go"), one, answered(300, "t1", "ok"), two, answered(301, "t2", "ok"))

    (call,) = of(records.Call, found)
    (more,) = of(records.More, found)
    assert more.key == call.key
    assert len(more.output["tool_calls"]) == 2
    assert [one.key for one in of(records.ToolStarted, found)] == [f"{call.key}/t1", f"{call.key}/t2"]
    assert len(of(records.ToolEnded, found)) == 2
    assert len(of(records.Used, found)) == 1


def test_ids_of_tools_that_come_again_are_other_steps() -> None:
    turns = []
    for number in (1, 2):
        turns += [
            user(number * 1000, "go"),
            *assistant(number * 11, tool("call_1")),
            answered(number * 1200, "call_1", "x"),
        ]
    found, _ = claude(*turns)
    assert len({one.key for one in of(records.ToolStarted, found)}) == 2
    assert [one.key for one in of(records.ToolEnded, found)] == [one.key for one in of(records.ToolStarted, found)]


@pytest.mark.parametrize(
    ("line", "name", "failed"),
    [
        pytest.param({"text": "[Request interrupted by user for tool use]"}, "interrupt", False, id="interrupt"),
        pytest.param({"more": {"isCompactSummary": True}, "text": "so far"}, "compaction", False, id="compaction"),
        pytest.param({"error": "overloaded"}, "provider error", True, id="error"),
    ],
)
def test_what_else_happens_is_noted(line: dict[str, Any], name: str, failed: bool) -> None:
    said = user(1, line.get("text", "")) | line.get("more", {})
    if "error" in line:
        (said,) = assistant(1, text("API Error: 529"))
        said["isApiErrorMessage"] = True
    found, _ = claude(said)
    (note,) = of(records.Noted, found)
    assert (note.name, note.error is not None) == (name, failed)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b'{"type":"hologram","uuid":"u"}', id="unknown-type"),
        pytest.param(b"{nonsense", id="no-json"),
        pytest.param(b"[1,2]", id="a-list"),
        pytest.param(b'"\xff\xfe"', id="no-utf8"),
        pytest.param(b'{"type":"user","message":{"content":7}}', id="odd-content"),
        pytest.param(b'{"type":"assistant","message":{"content":[{"type":"text","text":{}}]}}', id="odd-block"),
    ],
)
def test_a_line_that_is_not_known_is_counted_and_harms_nothing(raw: bytes) -> None:
    for parser in (ClaudeParser(Thread()), CodexParser(Thread())):
        parser.feed(raw, 0)
        assert sum(parser.thread.unknown.values()) == 1, parser.thread.unknown


@pytest.mark.parametrize("kind", ["attachment", "api-request-blob", "api-request", "queue-operation"])
def test_prompts_as_they_were_sent_and_attachments_are_passed_over(kind: str) -> None:
    found, parser = claude({"type": kind, "blob": "secret", "timestamp": "2026-11-22T22:58:41.646Z"})
    assert found == []
    assert parser.thread.unknown == {}


# -- what Codex does -----------------------------------------------------------------------------------------------


def _rollout(ordinal: int | None, kind: str, **payload: Any) -> dict[str, Any]:
    return {"timestamp": "2026-11-22T22:59:24.439Z", "type": kind, "payload": payload} | (
        {} if ordinal is None else {"ordinal": ordinal}
    )


def _said(ordinal: int | None, words: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": words}]
    return _rollout(ordinal, "response_item", type="message", role="assistant", content=content)


def _count(total: int, last: int) -> dict[str, Any]:
    usage = {"input_tokens": total, "output_tokens": 0}
    now = {"input_tokens": last, "output_tokens": 0}
    return _rollout(None, "event_msg", type="token_count", info={"total_token_usage": usage, "last_token_usage": now})


def test_a_line_of_codex_with_an_ordinal_that_was_read_is_passed_over() -> None:
    _, parser = codex(_said(4, "one"), _said(4, "one again"), _said(3, "older"), _said(5, "two"))
    (call, *_) = parser.settle()
    assert isinstance(call, records.Call)
    assert call.output == "one\ntwo"


def test_old_rollouts_of_codex_count_by_their_running_totals() -> None:
    found, _ = codex(_said(None, "one"), _count(100, 100), _count(100, 100), _said(None, "two"), _count(150, 50))
    assert [used.tokens.input for used in of(records.Used, found)] == [100, 50]
    assert [used.key for used in of(records.Used, found)] == [call.key for call in of(records.Call, found)]


def test_usage_of_codex_never_counts_by_both_ways() -> None:
    record = _rollout(None, "token_usage_record", response_id="r", usage={"input_tokens": 9, "output_tokens": 1})
    found, _ = codex(_said(None, "one"), record, _count(10, 10))
    assert total(found) == Tokens(input=9, output=1)


def _called(name: str) -> dict[str, Any]:
    return _rollout(None, "response_item", type="function_call", name=name, arguments="{}", call_id="c1")


def _answer(output: Any) -> dict[str, Any]:
    return _rollout(None, "response_item", type="function_call_output", call_id="c1", output=output)


def _over(**item: Any) -> dict[str, Any]:
    return _rollout(None, "event_msg", type="item_completed", item={"id": "c1", "status": "failed", **item})


REFUSED = {"content": [{"type": "text", "text": "claim refused: bob holds T"}], "isError": True}


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        pytest.param(
            [_answer("Command blocked by PreToolUse hook: a.py is reserved by bob.. Command: touch a.py. Command: x")],
            "a.py is reserved by bob",
            id="a-command-that-a-hook-refused",
        ),
        pytest.param(
            [_answer("Tool call blocked by PreToolUse hook: ask bob")], "ask bob", id="a-tool-that-a-hook-refused"
        ),
        pytest.param(
            [_answer("Wall time: 0.1 seconds\nOutput:\nCommand blocked by PreToolUse hook: says a page")],
            None,
            id="a-page-that-has-these-words",
        ),
        pytest.param(
            [_over(type="McpToolCall", result=REFUSED), _answer("x")], "claim refused: bob holds T", id="an-mcp-tool"
        ),
        pytest.param(
            [_over(type="McpToolCall", result=None, error={"message": "it is gone"}), _answer("x")],
            "it is gone",
            id="an-mcp-server-that-is-gone",
        ),
        pytest.param([_over(type="CommandExecution", exit_code=3), _answer("x")], "exit code 3", id="a-command"),
        pytest.param([_over(type="FileChange", status="declined"), _answer("x")], "declined", id="a-patch"),
        pytest.param(
            [_rollout(None, "event_msg", type="mcp_tool_call_end", call_id="c1", result={"Ok": REFUSED}), _answer("x")],
            "claim refused: bob holds T",
            id="an-mcp-tool-of-old-versions",
        ),
    ],
)
def test_what_codex_was_refused_is_an_error_with_the_reason(lines: list[dict[str, Any]], error: str | None) -> None:
    found, _ = codex(_called("exec_command"), *lines)
    (ended,) = of(records.ToolEnded, found)
    assert ended.error == error


def test_a_sub_agent_of_codex_knows_its_parent() -> None:
    source = {"subagent": {"thread_spawn": {"parent_thread_id": "p", "depth": 1}}}
    found, _ = codex(_rollout(0, "session_meta", id="c", cwd="/srv", source=source))
    assert of(records.Facts, found)[0].parent == "p"


# -- what the databases do -----------------------------------------------------------------------------------------


def test_messages_that_hermes_writes_again_are_told_once(coding_home: Home) -> None:
    places: Places = {}
    before = read("hermes", coding_home.hermes, HERMES, places)
    with sqlite3.connect(coding_home.hermes) as connection:
        connection.execute("UPDATE messages SET active = 0, compacted = 1")
        connection.execute(
            "INSERT INTO messages (session_id, role, content, timestamp) "
            "VALUES (?, 'user', 'summary so far', 1795388400)",
            (HERMES,),
        )
        connection.execute(
            "INSERT INTO messages (session_id, role, content, tool_calls, timestamp) SELECT session_id, role, content, "
            "tool_calls, timestamp FROM messages WHERE id = 5"
        )
    connection.close()
    again = read("hermes", coding_home.hermes, HERMES, places)
    assert len(of(records.Call, before)) == 2
    assert [turn.text for turn in of(records.Turn, again)] == ["summary so far"]
    assert of(records.Call, again) == []


def test_a_rewind_of_hermes_is_noted_once(coding_home: Home) -> None:
    places: Places = {}
    read("hermes", coding_home.hermes, HERMES, places)
    with sqlite3.connect(coding_home.hermes) as connection:
        connection.execute("UPDATE sessions SET rewind_count = 1")
    connection.close()
    assert [note.name for note in of(records.Noted, read("hermes", coding_home.hermes, HERMES, places))] == ["rewind"]
    assert of(records.Noted, read("hermes", coding_home.hermes, HERMES, places)) == []


def test_what_a_session_of_hermes_has_used_grows_by_the_difference(coding_home: Home) -> None:
    places: Places = {}
    read("hermes", coding_home.hermes, HERMES, places)
    with sqlite3.connect(coding_home.hermes) as connection:
        connection.execute("UPDATE session_model_usage SET input_tokens = input_tokens + 9")
    connection.close()
    assert total(read("hermes", coding_home.hermes, HERMES, places)) == Tokens(input=9)


def test_events_that_openclaw_writes_again_are_told_once(coding_home: Home) -> None:
    places: Places = {}
    assert len(of(records.Call, read("openclaw", coding_home.openclaw, OPENCLAW, places))) == 2
    with sqlite3.connect(coding_home.openclaw) as connection:
        connection.execute("UPDATE transcript_rewrite_watermarks SET generation = 'another'")
        connection.execute("DELETE FROM transcript_events WHERE seq = 8")
        added = {"type": "compaction", "id": "c", "timestamp": "2026-11-22T23:06:00Z", "summary": "so far"}
        connection.execute(
            "INSERT INTO transcript_events (session_id, seq, event_json, created_at) VALUES (?, 11, ?, 1795388760000)",
            (OPENCLAW, json.dumps(added)),
        )
    connection.close()
    (note,) = read("openclaw", coding_home.openclaw, OPENCLAW, places)
    assert isinstance(note, records.Noted)
    assert (note.name, note.text) == ("compaction", "so far")


def test_an_event_of_openclaw_may_be_compressed(coding_home: Home) -> None:
    import zstandard

    whole = read("openclaw", coding_home.openclaw, OPENCLAW)
    with sqlite3.connect(coding_home.openclaw) as connection:
        for seq, event in connection.execute("SELECT seq, event_json FROM transcript_events").fetchall():
            packed = zstandard.ZstdCompressor().compress(event.encode())
            connection.execute(
                "UPDATE transcript_events SET event_json = NULL, event_zstd = ? WHERE seq = ?", (packed, seq)
            )
    connection.close()
    assert read("openclaw", coding_home.openclaw, OPENCLAW) == whole


def test_the_ids_of_the_fixtures_are_those_of_their_files(coding_home: Home) -> None:
    from tracecraft.transcripts.mirror import session_of

    assert session_of("claude", coding_home.claude) == CLAUDE
    assert session_of("codex", coding_home.codex) == CODEX
    assert session_of("codex", coding_home.codex.with_suffix(".jsonl.zst")) == CODEX
