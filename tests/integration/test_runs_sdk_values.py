"""What a run takes and how it spells it: refused, redacted, counted, kept."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.support.said import bodies, log
from tracecraft import Session, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tracecraft_stack.nats_server import NatsServer


@dataclasses.dataclass
class Wrapped:
    """What somebody logs."""

    text: str


@pytest.fixture(autouse=True)
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRACECRAFT_SPOOL", str(tmp_path / "spool"))
    return tmp_path / "spool"


@pytest.fixture
def session(nats: NatsServer, project: str) -> Iterator[Session]:
    opened = Session(server=nats.url, project=project, agent="lead")
    yield opened
    opened.close()


def test_tokens_of_any_one_bucket_are_a_usage_and_names_bear_no_secrets(session: Session) -> None:
    secret = "sk-" + "a1" * 10
    with session.run("r") as run:
        run.log_usage(reasoning=1_000_000, model="o3")
        run.log_usage(cache_read=5, model=secret, provider=secret)
        run.log_usage(cache_write=7)
        run.log_metric(secret, 1.0)
        run.log_metrics({secret: 2.0})
        run.log_text(f"{secret}.txt", "x")
    assert run.redacted == {"api-key": 5}
    entries = log(session)
    first, second, third = bodies(entries, "usage")
    assert (first["reasoning"], first["model"], third["cache_write"]) == (1_000_000, "o3", 7)
    assert (second["cache_read"], second["model"], second["provider"]) == (5, *["[redacted:api-key]"] * 2)
    assert secret not in str(entries)


def test_wrong_use_is_refused_at_the_call(session: Session, tmp_path: Path) -> None:
    with session.run("r") as run, run.step("s") as step:
        wrong: list[Callable[[], object]] = [
            lambda: session.run(""),
            lambda: session.run("r", purpose="fun"),  # type: ignore[arg-type]
            lambda: session.run("r", params=[1]),  # type: ignore[arg-type]
            lambda: session.run("r", run_id="a b"),
            lambda: session.run("r", system_metrics=0.001),
            lambda: session.run("r", traceparent="x"),
            lambda: run.agent("a b"),
            lambda: run.step(""),
            lambda: run.step("s", kind="tool"),  # type: ignore[arg-type]
            lambda: run.log_metric("", 1),
            lambda: run.log_metric("loss", "0.5"),  # type: ignore[arg-type]
            lambda: run.log_metric("loss", 1, step=1.5),  # type: ignore[arg-type]
            lambda: run.log_metric("loss", 1, step=True),
            lambda: run.log_metric("loss", 1, step=-1),
            lambda: run.log_metric("loss", 1, step=2**62 + 1),
            lambda: run.log_metric("loss", 1, step=2**70),
            lambda: run.log_metric("l" * 251, 1),
            lambda: run.log_metrics([1]),  # type: ignore[arg-type]
            lambda: run.log_param("l" * 251, 1),
            lambda: run.log_usage(),
            lambda: run.log_usage(input=-1),
            lambda: run.log_usage(input=1.5),  # type: ignore[arg-type]
            lambda: run.log_usage(input="5"),  # type: ignore[arg-type]
            lambda: run.log_usage(input=True),
            lambda: run.log_usage({"prompt_tokens": -5, "completion_tokens": 1}),
            lambda: run.log_usage(cost="1"),  # type: ignore[arg-type]
            lambda: run.log_usage(input=10**30),
            lambda: run.log_usage({"prompt_tokens": 10**30, "completion_tokens": 1}),
            lambda: run.log_usage(output=float("inf")),  # type: ignore[arg-type]
            lambda: run.log_usage(cost=float("nan")),
            lambda: run.log_usage(cost=1e9),
            lambda: run.log_usage(input=1, currency="usd"),
            lambda: run.log_usage(input=1, request="r" * 251),
            lambda: run.log("text", level="loud"),  # type: ignore[arg-type]
            lambda: run.log_artifact(tmp_path / "nothing"),
            lambda: run.log_text("../up", "text"),
            lambda: step.start(),
            lambda: run.start(),
        ]
        for call in wrong:
            with pytest.raises(UsageError):
                call()
    with pytest.raises(UsageError, match="has ended"):
        run.log_metric("loss", 1.0)
    with pytest.raises(UsageError, match="has not begun"):
        session.run("r").log("too early")
    assert [entry.event for entry in log(session)] == ["started", "step.started", "step.ended", "ended"]


def test_a_step_may_be_a_time_in_nanoseconds_and_the_next_one_goes_on_from_it(session: Session) -> None:
    at = 1_795_000_000_000_000_000
    with session.run("r") as run:
        run.log_metric("loss", 1, step=at)
        run.log_metric("loss", 2)
        run.log_metric("end", 1, step=2**62)
        run.log_metric("end", 2)
    points = [(point[0], point[2]) for metric in bodies(log(session), "metric") for point in metric["points"]]
    assert points == [("loss", at), ("loss", at + 1), ("end", 2**62), ("end", 2**62)]


NUL = "a\x00b"

KEPT = "a\\x00b"


def test_nul_is_recorded_in_a_spelling_that_the_bridge_can_keep(session: Session) -> None:
    with session.run(NUL, params={NUL: NUL}, tags={NUL: NUL}) as run, run.agent("b", model=NUL, role=NUL) as agent:
        run.log_param("nul", {NUL: [NUL, "\\u0000"]})
        run.log_metric(NUL, 1.0)
        run.log(NUL)
        run.log_usage(input=1, model=NUL, provider=NUL, request=NUL)
        with agent.step(NUL) as step:
            step.log_input(Wrapped(NUL))
            step.set_tag(NUL, NUL)
        with pytest.raises(RuntimeError), run.step("s"):
            raise RuntimeError(NUL)
    entries = log(session)
    assert bodies(entries, "started")[0]["params"] == {KEPT: KEPT}
    assert bodies(entries, "started")[0]["tags"] == {KEPT: KEPT}
    assert bodies(entries, "param")[0]["params"] == {"nul": {KEPT: [KEPT, "\\u0000"]}}
    assert bodies(entries, "metric")[0]["points"][0][0] == KEPT
    assert bodies(entries, "step.input")[0]["value"] == {"text": KEPT}
    assert bodies(entries, "usage")[0]["request"] == KEPT
    assert [step["name"] for step in bodies(entries, "step.started")] == [KEPT, "s"]
    assert bodies(entries, "step.ended")[1]["error"]["message"] == KEPT
    texts = json.dumps([entry.body for entry in entries]).replace("\\\\u0000", "")
    assert "\\u0000" not in texts
    assert len(entries) == 13


def test_a_tag_that_is_true_or_nothing_is_spelled_as_in_json(session: Session) -> None:
    with session.run("r", tags={"best": True, "none": None}) as run:
        run.set_tags({"best": False, "numpy": np.bool_(True), "text": "True", "one": 1})
    entries = log(session)
    assert bodies(entries, "started")[0]["tags"] == {"best": "true", "none": "null"}
    assert bodies(entries, "tag")[0]["tags"] == {"best": "false", "numpy": "true", "text": "True", "one": "1"}


def test_what_was_redacted_is_counted_wherever_it_was(session: Session) -> None:
    secret = "sk-ant-a-secret-of-mine"

    def fail() -> None:
        raise RuntimeError("no") from ValueError(secret)

    def work() -> None:
        with run, run.agent("b"), run.step(f"s {secret}"):
            run.log(secret)
            assert run.redacted == {"api-key": 3}
            fail()

    run = session.run(f"r {secret}")
    with pytest.raises(RuntimeError):
        work()
    entries = log(session)
    assert secret not in json.dumps([entry.body for entry in entries])
    marks = json.dumps([entry.body for entry in entries if entry.event != "step.ended"]).count("[redacted:api-key]")
    ended = bodies(entries, "step.ended")[0]
    assert run.redacted == {"api-key": marks + json.dumps(ended["error"]).count("[redacted:api-key]")}
    assert run.redacted["api-key"] > 3


def test_system_metrics_are_sampled_on_request(session: Session) -> None:
    with session.run("r", system_metrics=60):
        pass
    keys = {point[0] for metric in bodies(log(session), "metric") for point in metric["points"]}
    assert keys == {
        *("system.cpu_percent", "system.memory_percent"),
        *("process.cpu_percent", "process.memory_mib", "process.threads"),
    }


def test_what_a_fork_or_a_replay_repeats_is_no_spend_unless_it_says_so(session: Session) -> None:
    for purpose in ("fork", "replay", "eval", "original"):
        with session.run("again", purpose=purpose) as run:
            run.log_usage(input=1, model="m")
            run.log_usage(input=2, model="m", cause="original")
    causes = [body.get("cause", "original") for body in bodies(log(session), "usage")]
    assert causes == ["fork", "original", "replay", "original", *["original"] * 4]
