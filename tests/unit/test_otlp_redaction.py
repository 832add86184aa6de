"""Secrets in telemetry: each text is looked at before it is cut, for of a piece of a secret no rule knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support import otlp
from tracecraft_bridge.otlp import points, records, redacting, spans, telemetry
from tracecraft_bridge.otlp.home import Home, Misplaced, home_of
from tracecraft_bridge.otlp.writing import Writing

if TYPE_CHECKING:
    from collections.abc import Iterator

TRACE = "ab" * 16
SECRET = "ghp_" + "g9H0" * 9
CUTS = (80, 100, 200, 250, 400, 500, 2_000, 4_000, 8_000)
"""Where texts of events are cut."""


def straddling() -> Iterator[str]:
    """Texts of which a cut would leave the beginning of the secret, or nearly all of it."""
    for cut in CUTS:
        for inside in (8, 20, 36, 38):
            yield ("z " * cut)[: cut - inside] + SECRET


def left_of_it(writing: Writing) -> int:
    """How many characters of the secret are in the events."""
    whole = b"\n".join(draft.body for draft in writing.drafts).decode()
    return next((size for size in range(len(SECRET), 5, -1) if SECRET[:size] in whole), 0)


def writing_of(origin: Any = "trace") -> Writing:
    """Events of a run."""
    return Writing(Home("p", TRACE, origin, trace=TRACE), "x", b"")


@pytest.mark.parametrize("operation", ["chat", "invoke_agent", "execute_tool"])
def test_of_a_secret_where_a_span_is_cut_nothing_is_left(operation: str) -> None:
    for said in straddling():
        names = (
            *("tracecraft.task", "tracecraft.tag.a", "tracecraft.param.b", "k", "gen_ai.request.model"),
            *("gen_ai.provider.name", "gen_ai.tool.name", "gen_ai.response.id", "gen_ai.agent.description"),
            *("gen_ai.conversation.id", "gen_ai.agent.name", "error.type", "tracecraft.step.name"),
        )
        found: dict[str, Any] = dict.fromkeys(names, said)
        found |= {
            "gen_ai.operation.name": operation,
            "list": [said],
            "map": {"a": said},
            "gen_ai.usage.input_tokens": 1,
        }
        raised = dict.fromkeys(("exception.type", "exception.message", "exception.stacktrace"), said)
        events = [("exception", raised), (said, {"a": said})]
        resource = {"host.name": said, "service.version": said, "tracecraft.tag.c": said, "tracecraft.param.d": [said]}
        request = otlp.traces([otlp.span(TRACE, 1, said, found, error=said, events=events)], "p", **resource)
        request.resource_spans[0].resource.attributes.extend(otlp.pairs(resource))
        request.resource_spans[0].scope_spans[0].scope.name = said
        for origin in ("trace", "named"):
            writing = writing_of(origin)
            spans.write(writing, list(telemetry.spans(request)), spans.Told())
            assert left_of_it(writing) == 0, len(said)


@pytest.mark.parametrize(
    "name",
    ["", "claude_code.api_error", "claude_code.tool_result", "claude_code.api_request", "codex.tool_result"],
)
def test_of_a_secret_where_a_record_is_cut_nothing_is_left(name: str) -> None:
    for said in straddling():
        found = {
            **dict.fromkeys(("error", "error_type", "status_code", "tool_name", "model", "request_id", "k"), said),
            **{"success": "false", "session.id": said, "input_tokens": 1},
        }
        writing = writing_of("session")
        for body in (said, {"a": said}):
            request = otlp.logs([otlp.record(name, found, body=body)], "p", service_name=said)
            records.write(writing, list(telemetry.records(request)))
        assert left_of_it(writing) == 0, len(said)


def test_of_a_secret_where_the_name_of_a_point_is_cut_nothing_is_left() -> None:
    for said in straddling():
        writing = writing_of("named")
        points.write(writing, [points.Point(said, 1.0, 1, {"a": said, "session.id": said}, {"service.name": said}, 1)])
        assert left_of_it(writing) == 0, len(said)


def test_a_value_under_a_secret_name_is_not_shown_in_a_line_either() -> None:
    writing = writing_of()
    hidden = {"password": "hunter2", "nested": {"api_key": "k1"}}
    spans.write(
        writing,
        list(telemetry.spans(otlp.traces([otlp.span(TRACE, 1, "s", events=[("e", hidden)])], "p"))),
        spans.Told(),
    )
    (line,) = [draft.body for draft in writing.drafts if draft.event == "log"]
    assert b"hunter2" not in line
    assert b"k1" not in line
    assert b"[redacted:key]" in line


def test_of_a_very_long_text_no_more_is_looked_at_than_is_kept() -> None:
    most = 100
    for behind in (0, 5, 39, 40, redacting.MARGIN, redacting.MARGIN + 1):
        said = "z " * (most // 2) + "y" * behind + " " + SECRET + " x" * 50_000
        assert redacting.clean(said, most) == "z " * (most // 2)
    said = "z " * 40 + SECRET + " x" * 50_000
    assert redacting.clean(said, most).startswith("z " * 40 + "[redacted:github-")
    many = f"{SECRET} " * 3_000
    assert SECRET[:8] not in redacting.clean(many, 8_000)
    assert redacting.clean(many, 8_000).startswith("[redacted:github-token] [redacted:github-token]")
    unbroken = "x" * (most + redacting.MARGIN - 20) + "-" + SECRET * 100
    assert redacting.clean(unbroken, most) == "x" * most
    for end in range(len(SECRET) + 2):
        said = "v" * end + f" {SECRET}" * 2_000
        assert SECRET[:8] not in redacting.clean(said, most), "wherever the part ends in one of them"
        assert SECRET[:8] not in redacting.clean(said, 8_000)


def test_a_run_that_is_named_by_a_secret_gets_another_name_and_always_the_same() -> None:
    def run(said: str) -> str:
        home, _ = home_of({"tracecraft.run": said}, {}, name="s", trace=TRACE, project="p")
        assert home.name == home.run
        return home.run

    assert run(SECRET) == run(SECRET)
    assert SECRET[4:] not in run(SECRET)
    assert run(SECRET) != run("ghp_" + "g9H1" * 9), "two runs stay two"
    assert len(run("a" * 20 + "-" + SECRET[:43])) <= 64
    assert run("exp-1") == "exp-1"


def test_a_refused_name_is_told_without_the_secret_in_it() -> None:
    for said in straddling():
        with pytest.raises(Misplaced) as refused:
            home_of({"tracecraft.project": f"{said}."}, {}, name="s", trace=TRACE, project="p")
        assert SECRET[:8] not in str(refused.value)
