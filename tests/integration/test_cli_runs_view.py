"""``tracecraft runs`` and ``cost``: what commands wrote is listed, inspected, followed, compared, added up, deleted."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.written_run import WrittenRun, now
from tracecraft import AsyncSession
from tracecraft_cli.runs_view import findings, following
from tracecraft_core import bodies, ids, run_events, subjects
from tracecraft_core.bus import Bus
from tracecraft_core.transport import ServerOptions
from tracecraft_stack.ports import free_port

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.support.cli import CommandLine


@pytest.fixture
def cli(whole_cli: CommandLine) -> CommandLine:
    return whole_cli


def said(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def result(done: subprocess.CompletedProcess[str], code: int = 0) -> Any:
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)["result"]


def trained(cli: CommandLine, lr: str, losses: list[str], *, end: bool = True) -> str:
    """A run with these losses."""
    run = said(cli("run", "start", f"lr {lr}", "--param", f"lr={lr}", "--param", "seed=7", "--tag", f"lr={lr}"))
    for loss in losses:
        said(cli("run", "log-metric", "loss", loss))
    if end:
        said(cli("run", "end"))
    return run


def test_runs_are_listed_filtered_sorted_and_cut(cli: CommandLine) -> None:
    good, bad = trained(cli, "0.1", ["0.3", "0.1"]), trained(cli, "0.2", ["0.9"], end=False)
    assert [row["run"] for row in result(cli("runs", "--json"))] == [bad, good]
    assert [row["run"] for row in result(cli("runs", "--json", "--sort", "metrics.loss"))] == [good, bad]
    table = said(cli("runs", "metrics.loss < 0.5", "--columns", "run,params.lr,metrics.loss,status"))
    assert table.split("\n")[1].split() == [good, "0.1", "0.1", "finished"]
    assert said(cli("runs", "tags.lr", "=", '"0.2"')).split("\n")[1].split()[0] == bad
    cut = cli("runs", "--limit", "1")
    assert (len(said(cut).split("\n")), "there are more" in cut.stderr) == (2, True)
    assert "no runs" in cli("runs", "metrics.loss > 5").stderr
    wrong = cli("runs", "metrics.loss ~~ 3")
    assert (wrong.returncode, "^" in wrong.stderr) == (2, True)
    assert "no column 'colour'" in cli("runs", "--columns", "run,colour").stderr


def test_a_run_is_shown_whole(cli: CommandLine, place: Path) -> None:
    run = trained(cli, "0.1", ["0.3", "0.2", "0.1"], end=False)
    outer = said(cli("run", "log-step", "plan", "--seconds", "3"))
    said(cli("run", "log-step", "ask", "--kind", "llm", "--model", "gpt-5", "--provider", "openai", "--parent", outer,
             "--input-tokens", "1000", "--output-tokens", "100", "--cost", "0.5", "--error", "cut short"))  # fmt: skip
    said(cli("send", "w2", "have a look"))
    (place / "models" / "a").mkdir(parents=True)
    (place / "models" / "a" / "best.bin").write_bytes(b"weights")
    (place / "models" / "notes.txt").write_text("fine")
    kept = cli("run", "log-artifact", "m", "models", "--kind", "model")
    assert [line.split()[0] for line in said(kept).split("\n")] == ["m/a/best.bin", "m/notes.txt"]
    said(cli("run", "end", "--status", "failed", "--reason", "cut short"))
    text = said(cli("runs", "inspect", run[-6:]))
    assert f"{run}  lr 0.1  failed\n  > " in text
    assert "cut short" in text
    assert re.search(r"  loss +0\.1 +0\.1 +0\.3 +3 +█▅▁\n", text)
    assert re.search(r"  w1  plan  3\.0 s\n.*    w1  ask  llm .*gpt-5  1\.1k tokens  \$0\.5  ERROR .*cut short\n", text)
    assert re.search(r"errors \(1\)\n  w1  ask  step [0-9a-f]{16}  seq \d+\n  > .*cut short", text)
    assert re.search(r"  m/a/best\.bin +7 B ", text)
    assert re.search(r"messages\n  #\d+  [\d: -]+  w1 to w2: have a look", text)
    shown = result(cli("runs", "inspect", run, "--json"))
    assert (shown["row"]["cost"], [step["name"] for step in shown["steps"]]) == (0.5, ["plan", "ask"])
    report = result(cli("cost", "--by", "model", "--json"))
    assert [(row["key"], row["cost"], row["tokens"]["input"]) for row in report["rows"]] == [("gpt-5", 0.5, 1000)]
    assert re.search(r"gpt-5 +1 +1k +0 +0 +100 +0 +\$0\.5\n", said(cli("cost", "--by", "model", "--since", "1h")))
    assert "without a known price" not in text
    unknown = cli("runs", "inspect", "nowhere")
    assert (unknown.returncode, "no run 'nowhere'" in unknown.stderr) == (1, True)


def test_calls_without_a_known_price_are_told_with_the_reason_and_what_gives_them_one(cli: CommandLine) -> None:
    run = said(cli("run", "start", "custom"))
    for provider in ("stub", "stub", "openai"):
        said(cli("run", "log-step", "ask", "--kind", "llm", "--model", "gpt-4o", "--provider", provider,
                 "--input-tokens", "1000", "--output-tokens", "100"))  # fmt: skip
    said(cli("run", "end"))
    why = "  2 calls of gpt-4o of stub: the price list has no provider stub\n  a call has a price when it says its cost"
    for shown in (said(cli("cost")), said(cli("runs", "inspect", run))):
        assert why in shown
        assert "log_usage(cost=...)" in shown
        assert "of openai" not in shown
    unpriced = {"provider": "stub", "model": "gpt-4o", "calls": 2, "why": "the price list has no provider stub"}
    assert result(cli("runs", "inspect", run, "--json"))["unpriced"] == [unpriced]
    assert result(cli("cost", "--by", "run", "--json"))["unpriced"] == [unpriced]


def test_what_a_question_probably_meant_is_said_beside_the_answer(cli: CommandLine) -> None:
    run = trained(cli, "0.1", ["0.3"])
    wrong = cli("runs", "metrics.lss < 3")
    assert (wrong.returncode, wrong.stdout) == (0, "")
    assert "no run has metric lss: did you mean loss?" in wrong.stderr
    assert json.loads(cli("runs", "metrics.lss < 3", "--json").stdout)["result"] == []
    both = said(cli("runs", "took < 5m", "--sort", "took", "--columns", "run,took,seconds")).split("\n")
    assert both[0].split() == ["run", "took", "seconds"]
    assert len(both) == 2
    bare = cli("runs", run[-6:])
    assert bare.returncode == 2
    assert f"tracecraft runs inspect {run[-6:]}" in bare.stderr
    assert "tracecraft runs inspect abcdef" in cli("runs", "abcdef").stderr
    assert "No such command 'inspekt'" in cli("runs", "inspekt").stderr


def test_costs_of_an_agent_are_a_lower_bound_where_calls_have_no_price(cli: CommandLine) -> None:
    run = trained(cli, "0.1", ["0.3"], end=False)
    ask = ("run", "log-step", "ask", "--kind", "llm", "--input-tokens", "10")
    said(cli(*ask, "--model", "gpt-5", "--provider", "openai", "--cost", "0.5"))
    said(cli(*ask, "--model", "no-such-model", "--provider", "nobody"))
    text = said(cli("runs", "inspect", run))
    assert re.search(r"agents\n.*\n  w1 .* >=\$0\.5\n", text)
    assert "1 call without a known price" in text


def test_a_step_that_was_open_when_the_run_was_over_is_no_error(cli: CommandLine) -> None:
    """`runs` and `runs inspect` count the same."""
    run = ran(cli, failing=1, left_open=2)
    assert result(cli("runs", "--json"))[0]["errors"] == 1
    text = said(cli("runs", "inspect", run))
    assert re.search(
        r"^errors \(1\)\n  w1  fails 0  .*\n  > ValueError: no\nopen when the run was over \(2\)\n  w1  open 0",
        text,
        re.M,
    )
    assert result(cli("runs", "inspect", run, "--json"))["lost"] == 2


def test_what_was_lost_is_counted_in_a_large_run_too(cli: CommandLine) -> None:
    run = ran(cli, failing=1, left_open=findings.TREE + 5)
    text = said(cli("runs", "inspect", run))
    assert "\nerrors (1)\n" in text
    assert f"\nopen when the run was over ({findings.TREE + 5})\n" in text


def ran(cli: CommandLine, *, failing: int, left_open: int) -> str:
    """A run that was killed with steps open."""

    async def write() -> str:
        async with AsyncSession(server=cli.server, project=cli.project, agent="w1") as session:
            written = WrittenRun(session.context.bus, cli.project)
            await written.begin()
            for number in range(failing):
                failure = run_events.Failure(type="ValueError", message="no")
                ended = run_events.StepEnded(
                    step=ids.step(), name=f"fails {number}", time=now(), duration=5, status="error", error=failure
                )
                await written.event("step.ended", ended, "w1")
            for number in range(left_open):
                began = run_events.StepStarted(step=ids.step(), name=f"open {number}", time=now())
                await written.event("step.started", began, "w1")
            await written.event("ended", run_events.RunEnded(status="killed", time=now()), "w1")
            return written.run

    return asyncio.run(write())


def test_inspect_without_a_run_says_what_it_takes(cli: CommandLine) -> None:
    refused = cli("runs", "inspect")
    assert refused.returncode == 2
    assert "or name one as 'tracecraft runs inspect ID' or with TRACECRAFT_RUN\n" in refused.stderr
    assert "--run" not in refused.stderr


def test_infinities_are_shown_as_such(cli: CommandLine) -> None:
    run = trained(cli, "0.1", ["1", "inf", "nan", "3"])
    text = said(cli("runs", "inspect", run))
    assert re.search(r"  loss +3 +1 +Infinity +4 \(1 nan, 1 infinite\)", text)
    other = trained(cli, "0.1", ["1", "inf"])
    compared = said(cli("runs", "compare", run, other))
    assert re.search(r"loss +3 +Infinity\n", compared)
    assert f"! loss: {run[-6:]} has 1 nan, 1 infinite" in compared
    assert f"! loss: {other[-6:]} has 1 infinite" in compared


def test_a_run_whose_writer_never_ended_is_told_what_may_be_elsewhere(cli: CommandLine) -> None:
    run = trained(cli, "0.1", ["0.3"], end=False)
    told = cli("runs", "verify", run)
    assert told.returncode == 1
    assert f"run {run} (running): 2 events of 1 writer\n" in told.stdout
    host = socket.gethostname()
    assert (
        "(w1): it never said that it was done; what it recorded after number 2, if anything, is not here" in told.stdout
    )
    assert (
        f"and can only be in the spool of {host}: 'tracecraft spool flush -p {cli.project}' there delivers it\n"
        in told.stdout
    )


async def test_steps_of_the_tree_are_not_told_again_by_what_follows(
    cli: CommandLine, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(cli, "0.1", ["0.3"], end=False)
    said(cli("run", "log-step", "plan"))
    async with AsyncSession(server=cli.server, project=cli.project, agent="w2") as session:
        found = await findings.find(session.context, run)
        said(cli("run", "log-step", "ask"))
        said(cli("run", "end"))
        # The tree may be newer than what was asked for before it, here by all that there is.
        await following.follow(session.context, run, found.detail.first_seq, found.entries(), as_json=False)
    printed = capsys.readouterr().out
    assert [name for name in ("plan", "ask") if name in printed] == ["ask"]
    assert "finished" in printed


def test_a_run_is_followed_until_it_ends(cli: CommandLine) -> None:
    run = trained(cli, "0.1", ["0.3"], end=False)
    following = cli.popen("runs", "inspect", "--follow")
    assert following.stdout is not None
    seen = ""
    deadline = time.monotonic() + 20
    while "metrics" not in seen:
        assert time.monotonic() < deadline
        seen += following.stdout.readline()
    said(cli("run", "log-metric", "loss", "0.25"))
    said(cli("run", "end"))
    rest, _ = following.communicate(timeout=20)
    assert f"run {run} metric loss=0.25" in rest
    assert rest.strip().endswith("run finished")
    assert following.returncode == 0


def test_runs_are_compared_in_the_terminal_and_on_a_page_of_its_own(cli: CommandLine, place: Path) -> None:
    one, two = trained(cli, "0.1", ["0.4", "0.2"]), trained(cli, "0.2", ["0.5", "0.3", "0.1"], end=False)
    text = said(cli("runs", "compare", one, two, "--html", "page.html"))
    assert re.search(r"params\.lr +0\.1 +0\.2\n", text)
    assert "seed" not in text
    assert "1 parameter is the same in all" in text
    assert re.search(r"loss +0\.2 +0\.1 \(-0\.1, -50\.0%\)(\n|$)", text)
    assert f"! {two[-6:]} is still running" in text
    assert f"! loss: the newest values are of different steps: {one[-6:]} 1, {two[-6:]} 2" in text
    assert re.search(r"┤.*a+.*b+|┤.*b+.*a+", said(cli("runs", "compare", one, two)))
    page = (place / "page.html").read_text()
    assert page.count("<polyline") == 2
    assert "default-src 'none'" in page
    assert re.findall(r"https?://|<script|src=", page) == []
    compared = result(cli("runs", "compare", one, two, "--json"))
    assert compared["differences"] == {"params.lr": [0.1, 0.2], "tags.lr": ["0.1", "0.2"]}
    assert compared["metrics"]["loss"]["points"] == [2, 3]
    assert cli("runs", "compare", one).returncode == 2
    assert "these runs have loss" in cli("runs", "compare", one, two, "--metric", "los").stderr


def test_with_a_page_no_curves_are_printed_and_equal_ones_are_named(cli: CommandLine) -> None:
    one, two = trained(cli, "0.1", ["0.4", "0.2"]), trained(cli, "0.1", ["0.4", "0.2"])
    drawn = said(cli("runs", "compare", one, two))
    assert f"\nloss   b {two[-6:]} (same as a)\n" in drawn
    assert "┤a" in drawn
    printed = said(cli("runs", "compare", one, two, "--html", "page.html"))
    assert "┤" not in printed


def test_measurements_of_the_machine_are_no_reason_for_a_warning(cli: CommandLine) -> None:
    runs = [trained(cli, "0.1", ["0.4", "0.2"], end=False) for _ in range(2)]
    for number, run in enumerate(runs):
        for _ in range(number + 1):
            said(cli("run", "log-metric", "system.cpu_percent", "1", "--run", run))
    compared = said(cli("runs", "compare", *runs))
    assert "! system" not in compared
    assert re.search(r"system.cpu_percent +1 +1", compared)


def test_a_run_is_deleted_only_when_that_is_really_meant(cli: CommandLine) -> None:
    run = trained(cli, "0.1", ["0.4"])
    refused = cli("runs", "delete", run)
    assert (refused.returncode, "--yes" in refused.stderr) == (2, True)
    assert said(cli("runs", "delete", run, "--yes", "--reason", "wrong")) == f"{run} deleted"
    assert result(cli("runs", "--json")) == []


def test_what_waits_on_this_machine_is_named_by_verify_and_by_a_flush_of_another_project(
    cli: CommandLine, place: Path
) -> None:
    run = trained(cli, "0.1", ["0.4"], end=False)
    server, cli.server = (
        cli.server,
        f"nats://127.0.0.1:{free_port()}",
    )  # nobody is there, and it passes for the same bus
    [books] = (place / "state" / "tracecraft" / "runs").iterdir()
    same = books.with_name(hashlib.sha256(cli.server.encode()).hexdigest()[:12])
    same.symlink_to(books)
    said(cli("run", "log-metric", "loss", "0.3"))
    said(cli("run", "end"))
    same.unlink()
    cli.server = server
    told = cli("runs", "verify", run)
    assert told.returncode == 1
    assert f"on this machine waits 2 events, 0 files of it: 'tracecraft spool flush -p {cli.project}'" in told.stdout
    flushed = cli("spool", "flush", project=f"{cli.project}-other")
    assert f"project {cli.project}: 2 events, 0 files, 'tracecraft spool flush -p {cli.project}'" in flushed.stderr
    said(cli("spool", "flush"))
    told = cli("runs", "verify", run)
    assert (told.returncode, "waits" in told.stdout) == (0, False)
    assert cli("spool", "flush", project=f"{cli.project}-other").stderr.count("\n") == 1


async def test_an_exec_that_was_killed_is_a_crashed_run_and_says_which_process_fell_silent(cli: CommandLine) -> None:
    wrapper = cli.popen("run", "exec", "train", "--", "sleep", "60")
    assert wrapper.stderr is not None
    run = wrapper.stderr.readline().split()[1]
    until = time.monotonic() + 20
    while not (row := shown(cli, run)) or not row["steps"]:
        assert time.monotonic() < until
    wrapper.kill()
    [writer] = result(cli("runs", "verify", run, "--json"), code=1)["writers"]
    async with Bus(ServerOptions(servers=(cli.server,))) as bus:  # its presence lapses sooner than in 30 s
        key = subjects.kv_subject(subjects.AGENTS, cli.project, subjects.run_presence(run, writer["writer"]))
        presence = bodies.Presence(session=writer["writer"], mode="live", host="h", pid=1, ttl=1)
        await bus.publish(key, bodies.encode(presence), ttl=1)
    while (row := shown(cli, run))["status"] == "running":
        assert time.monotonic() < until + 20
        await asyncio.sleep(0.5)
    assert row["status"] == "crashed"
    assert f"process {wrapper.pid} on {socket.gethostname()} (last heard at " in row["reason"]
    assert row["reason"].endswith("UTC) fell silent without ending the run, inside the step 'sleep' of w1")
    assert [one["status"] for one in result(cli("runs", "inspect", run, "--json"))["agents"]] == ["lost"]


def shown(cli: CommandLine, run: str) -> Any:
    rows = [row for row in result(cli("runs", "--json")) if row["run"] == run]
    return rows[0] if rows else None


def test_the_output_of_exec_is_kept_without_secrets(cli: CommandLine, place: Path) -> None:
    script = "echo out; echo password=hunter22x; echo err >&2"
    done = cli("run", "exec", "train", "--json", "--", "sh", "-c", script)
    assert "password=hunter22x" in done.stdout
    run = json.loads(done.stdout.splitlines()[-1])["result"]["run"]
    said(cli("artifact", "get", run, "stdout.txt"))
    assert (place / "stdout.txt").read_text() == "out\npassword=[redacted:assignment]\n"
    kinds = {one["name"]: one["kind"] for one in result(cli("runs", "inspect", run, "--json"))["artifacts"]}
    assert kinds == {"stderr.txt": "stderr", "stdout.txt": "stdout"}
