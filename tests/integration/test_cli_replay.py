"""``tracecraft replay``: a run of a real stack, from the server and from its bundle."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.support.cli import CommandLine
from tracecraft.artifacts import get_file
from tracecraft.queries import ask
from tracecraft_cli.replay.sources import BundleTape, ServerTape, open_file, open_run
from tracecraft_cli.replay.tape import Tape
from tracecraft_cli.replay.where import Where
from tracecraft_core.errors import NotFound
from tracecraft_core.queries import BundleAnswer, GetQuestion, RunDetail, RunQuestion

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.support.artifacts import FileRig
    from tracecraft import AsyncSession

NOBODY = "nats://127.0.0.1:1"


class Search(NamedTuple):
    """A run that ended."""

    cli: CommandLine
    run: str
    large: dict[str, Any]

    def lines(self, *args: str) -> list[dict[str, Any]]:
        done = self.cli("replay", self.run, "--json", *args)
        assert done.returncode == 0, done.stderr
        return [json.loads(line)["result"] for line in done.stdout.splitlines()]


async def a_run(session: AsyncSession, winner: str = "svm") -> tuple[str, dict[str, Any]]:
    """Two agents, nested steps, a failure, a message, memory, a value that is too large for the log."""
    large = {"prompt": "x" * 40_000}
    async with session.run("search", params={"budget": 3}) as run:
        async with run.agent("ann", role="worker") as ann:
            async with ann.step("plan", kind="task") as plan:
                plan.log_input(large)
                async with ann.step("ask", kind="llm") as step:
                    step.log_usage(model="gpt-5", input=10, output=5, cost=0.01)
            await ann.shared_memory.set("winner", winner)
            await ann.send("bob", "all yours")
        async with run.agent("bob") as bob:
            with pytest.raises(ValueError, match="too deep"):
                async with bob.step("fit", kind="tool_call"):
                    raise ValueError("too deep")
    return run.id, large


@pytest.fixture
async def search(file_rig: FileRig, project: str) -> Search:
    async with file_rig.session(project, "lead") as session:
        run, large = await a_run(session)
    return Search(CommandLine(file_rig.rig.nats.url, project), run, large)


def ok(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


async def ended(session: AsyncSession, run: str) -> None:
    """Until the log of the run is whole."""
    end = time.monotonic() + 10
    while (await ask(session.context, "runs.get", RunQuestion(run=run), RunDetail)).row.status == "running":
        assert time.monotonic() < end


async def bundle(session: AsyncSession, run: str, path: Path) -> None:
    answer = await ask(session.context, "runs.bundle", RunQuestion(run=run), BundleAnswer)
    await get_file(session.context, GetQuestion(sha256=answer.bundle.sha256), path)


async def test_a_line_a_moment_by_the_end_of_the_id(search: Search) -> None:
    told = ok(search.cli("replay", search.run[-6:]))
    lines = [line.split("  ", 3) for line in told.splitlines()]
    said = [(who, what) for _, _, who, what in lines]
    assert ("ann", "begins plan (task)") in said
    assert ("ann", "to bob: all yours") in said
    assert ("ann", "memory winner = svm") in said
    assert any(who == "bob" and what.startswith("! fails in fit (tool_call) after ") for who, what in said)
    assert said[-1][1] == "run finished"
    seqs = [int(line[0]) for line in lines]
    assert seqs == sorted(seqs)


async def test_what_is_printed_can_be_chosen(search: Search) -> None:
    assert {one["agent"] for one in search.lines("--of", "bob")} == {"bob"}
    assert {one["kind"] for one in search.lines("--kind", "memory", "--kind", "message")} == {"memory", "message"}
    (failed,) = search.lines("--errors")
    assert (failed["event"], failed["name"]) == ("step.ended", "fit")
    none = search.cli("replay", search.run, "--of", "nobody")
    assert (none.returncode, none.stdout) == (0, "")
    assert "nothing to show" in none.stderr


async def test_the_state_is_the_same_from_the_server_and_from_the_file(
    search: Search, file_rig: FileRig, tmp_path: Path
) -> None:
    file = tmp_path / "run.tcb"
    async with file_rig.session(search.cli.project, "lead") as session:
        await ended(session, search.run)
        await bundle(session, search.run, file)
    (write,) = search.lines("--kind", "memory")
    (failed,) = search.lines("--errors")
    away = {"TRACECRAFT_SERVER": NOBODY}
    for at in (str(write["seq"] - 1), str(write["seq"]), failed["step"], failed["time"]):
        (here,) = search.lines("--at", at)
        there = json.loads(ok(search.cli("replay", str(file), "--json", "--at", at, env=away)))["result"]
        assert there["memory"] == here["memory"]
        assert there["mailboxes"] == here["mailboxes"]
        assert there["steps"] == here["steps"]
    (before,) = search.lines("--at", str(write["seq"] - 1))
    (after,) = search.lines("--at", str(write["seq"]))
    assert "winner" not in before["memory"]
    assert after["memory"]["winner"]["value"] == "svm"
    told = ok(search.cli("replay", str(file), "--at", failed["step"], env=away))
    assert "  winner = svm\n" in told
    assert "  bob: fit (tool_call) open, " in told


async def test_the_file_alone_prints_and_makes_the_page(search: Search, file_rig: FileRig, tmp_path: Path) -> None:
    file, page = tmp_path / "run.tcb", tmp_path / "run.html"
    async with file_rig.session(search.cli.project, "lead") as session:
        await ended(session, search.run)
        await bundle(session, search.run, file)
    away = {"TRACECRAFT_SERVER": NOBODY}
    from_file = ok(search.cli("replay", str(file), "--json", env=away)).splitlines()
    assert [json.loads(line)["result"] for line in from_file] == search.lines()
    made = json.loads(ok(search.cli("replay", str(file), "--html", str(page), "--json", env=away)))["result"]
    assert (made["steps"], made["bytes"]) == (3, page.stat().st_size)
    assert made["moments"] == len(from_file)


async def test_two_runs_part_where_one_does_something_else(search: Search, file_rig: FileRig) -> None:
    async with file_rig.session(search.cli.project, "lead") as session:
        other, _ = await a_run(session, "forest")
        same, _ = await a_run(session)
    parted = json.loads(ok(search.cli("replay", search.run, "--diff", other, "--json")))["result"]
    assert parted["divergence"]["agent"] == "ann"
    assert (parted["divergence"]["a"]["body"], parted["divergence"]["b"]["body"]) == ("svm", "forest")
    assert [one["agent"] for one in parted["before"]] == ["ann"] * 3
    told = ok(search.cli("replay", search.run, "--diff", other))
    assert f"b {other}: " in told
    assert "memory winner = forest" in told
    assert "did the same" in ok(search.cli("replay", search.run, "--diff", same))


async def test_a_run_goes_over_the_bus_again_from_its_file_too(
    search: Search, file_rig: FileRig, tmp_path: Path
) -> None:
    file = tmp_path / "run.tcb"
    async with file_rig.session(search.cli.project, "lead") as session:
        await ended(session, search.run)
        await bundle(session, search.run, file)
    moments = search.lines()
    for what in (search.run, str(file)):
        told = ok(search.cli("replay", what, "--to-bus", "--speed", "0", project=search.cli.project))
        assert told.startswith(f"{len(moments)} entries published under tc.{search.cli.project}-replay.> as run ")
    again = ok(search.cli("log", "--json", "--limit", str(len(moments)), project=f"{search.cli.project}-replay"))
    heard = [json.loads(line)["result"] for line in again.splitlines()]
    assert len({one["subject"].split(".")[3] for one in heard if one["family"] == "run"} - {search.run}) == 1
    messages = [one["body"]["text"] for one in heard if one["family"] == "msg"]
    assert messages == ["all yours"]
    assert len(heard) == len(moments)


async def test_a_run_is_opened_from_its_bundle_with_three_reads(search: Search, file_rig: FileRig) -> None:
    async with file_rig.session(search.cli.project, "lead") as session:
        await ended(session, search.run)
        await ask(session.context, "runs.bundle", RunQuestion(run=search.run), BundleAnswer)
        source = await open_run(session.context, search.run)
        assert isinstance(source, BundleTape)
        tape = Tape(source)
        await tape.more()
        assert source.reads <= 3
        detail = await ask(session.context, "runs.get", RunQuestion(run=search.run), RunDetail)
        server = Tape(ServerTape(session.context, detail))
        await asyncio.gather(tape.load(), server.load())
        assert tape.moments == server.moments
        assert list(tape.steps) == list(server.steps)
        value = next(one for one in tape.moments if one.event == "step.input")
        for each in (source, server.source):
            entry = await each.entry(value.seq)
            assert json.loads(await each.blob(entry.body["blob"]["sha256"])) == search.large
            assert (await each.state(value.seq)).seq == value.seq


async def test_a_running_run_is_read_from_the_log(file_rig: FileRig, project: str) -> None:
    async with file_rig.session(project, "lead") as session, session.run("going") as run:
        run.log_metric("loss", 0.5)
        await run.flush()
        source = await open_run(session.context, run.id)
        assert isinstance(source, ServerTape)
        tape = Tape(source)
        await tape.load()
        assert "metric loss=0.5" in [one.text for one in tape.moments]


async def test_what_is_not_there_is_said(search: Search, tmp_path: Path) -> None:
    gone = search.cli("replay", "20000101-000000-aaaaaa")
    assert (gone.returncode, gone.stdout) == (1, "")
    assert "no run" in gone.stderr
    broken = tmp_path / "run.tcb"
    broken.write_bytes(b"PK nonsense" * 100)
    assert "damaged" in search.cli("replay", str(broken)).stderr
    missing = search.cli("replay", "no/such.tcb")
    assert missing.returncode == 2
    assert "cannot read no/such.tcb" in missing.stderr
    for args in (
        ["--at", "1", "--html", "x.html"],
        ["--speed", "2"],
        ["--at", "yesterday"],
        ["--errors", "--diff", "x"],
    ):
        assert search.cli("replay", search.run, *args).returncode == 2


async def test_a_file_without_its_artifacts_names_what_it_lacks(
    search: Search, file_rig: FileRig, tmp_path: Path
) -> None:
    file = tmp_path / "run.tcb"
    async with file_rig.session(search.cli.project, "lead") as session:
        await ended(session, search.run)
        await bundle(session, search.run, file)
    source = open_file(file)
    with pytest.raises(NotFound, match="give the run's id"):
        await source.blob("0" * 64)
    with pytest.raises(NotFound):
        await source.state_at(Where(step="f" * 16))
    await source.close()


async def test_a_run_published_twice_is_two_runs_that_name_the_original(search: Search, file_rig: FileRig) -> None:
    project = f"{search.cli.project}-replay"
    runs = [
        json.loads(ok(search.cli("replay", search.run, "--to-bus", "--speed", "0", "--json")))["result"]["run"]
        for _ in range(2)
    ]
    assert len({*runs, search.run}) == 3
    async with file_rig.session(project, "lead") as session:
        for run in runs:
            detail = await ask(session.context, "runs.get", RunQuestion(run=run), RunDetail)
            assert (detail.row.status, detail.row.steps, detail.forked_from) == ("finished", 3, search.run)


async def test_the_page_of_a_run_has_the_totals_of_the_bridge(search: Search, tmp_path: Path) -> None:
    source = search.cli("runs", "inspect", search.run, "--json")
    row = json.loads(ok(source))["result"]["row"]
    ok(search.cli("replay", search.run, "--html", str(tmp_path / "run.html")))
    text = (tmp_path / "run.html").read_text(encoding="utf-8")
    packed = text.partition('id="head">')[2].partition("<")[0]
    totals = json.loads(zlib.decompress(base64.b64decode(packed)))["totals"]
    assert (totals["steps"], totals["errors"], totals["cost"]) == (row["steps"], row["errors"], row["cost"])
    assert totals["tokens"] == sum(row["tokens"].values()) == 15


async def test_a_place_is_given_as_it_is_printed(search: Search) -> None:
    (write,) = search.lines("--kind", "memory")
    (line,) = [one for one in ok(search.cli("replay", search.run)).splitlines() if "memory winner" in one]
    offset = line.split("  ")[1]
    for at in (offset, write["stored"][11:26], write["stored"][11:23]):
        (found,) = search.lines("--at", at)
        assert found["memory"]["winner"]["value"] == "svm"
    (before,) = search.lines("--at", "+0:00")
    assert before["seq"] >= 0


async def test_the_end_of_a_run_stands_where_the_run_took_so_long(search: Search) -> None:
    row = json.loads(ok(search.cli("runs", "inspect", search.run, "--json")))["result"]["row"]
    lines = ok(search.cli("replay", search.run)).splitlines()
    offsets = {line.split("  ", 3)[3]: _micros(line.split("  ")[1]) for line in lines}
    assert offsets["run search begins with budget=3"] == 0
    assert offsets["run finished"] == int(row["seconds"] * 1000) * 1000
    (ended,) = [one for one in search.lines("--kind", "step") if one["event"] == "step.ended" and one["name"] == "ask"]
    took = float(ended["text"].split(" after ")[1].removesuffix(" us").removesuffix(" ms"))
    took *= 1000 if ended["text"].endswith(" ms") else 1
    assert abs(offsets[ended["text"]] - offsets["begins ask (llm)"] - took) < 2_500  # thousandths, cut


def _micros(offset: str) -> int:
    minutes, seconds = offset.removeprefix("+").split(":")
    return int(minutes) * 60_000_000 + int(seconds.replace(".", "")) * 1000


async def test_a_line_that_is_cut_leads_to_the_whole(search: Search) -> None:
    (value,) = search.lines("--kind", "data")
    assert (value["cut"], [one["cut"] for one in search.lines("--kind", "memory")]) == (True, [False])
    printed = search.cli("replay", search.run, "--kind", "data")
    assert "lines that are cut: 1; 'tracecraft log --since SEQ --limit 1 --json' prints one whole" in printed.stderr
    entry = json.loads(ok(search.cli("log", "--since", str(value["seq"]), "--limit", "1", "--json")))["result"]
    assert entry["body"]["blob"]["size"] > 40_000
    assert search.cli("replay", search.run, "--kind", "memory").stderr == ""


async def test_a_run_that_is_not_there_names_the_project_that_was_searched(search: Search) -> None:
    project = search.cli.project
    assert search.cli("replay", "nothere").stderr == (
        f"tracecraft: no run 'nothere': the newest in project {project} is {search.run} (-p names another project)\n"
    )
    elsewhere = search.cli("runs", "inspect", search.run, project=f"{project}-other")
    assert f"project {project}-other has no runs (-p names another project)" in elsewhere.stderr
