"""Commands in a sandbox without network, by way of a relay outside: the same results, or honest receipts."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.others import settle
from tests.support.recording import logged, points
from tests.support.sandbox import AGENT, Sandbox, refusing
from tracecraft_cli.relay.ledger import home
from tracecraft_core import sandbox as detection
from tracecraft_core import urls

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.cli import CommandLine
    from tracecraft_stack.nats_server import NatsServer

FIX = "codex -c sandbox_workspace_write.network_access=true"


def result(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["result"]


def queued(done: subprocess.CompletedProcess[str]) -> str:
    """The id of a request that waits."""
    assert done.returncode == 75, done.stderr
    found = re.match(r"tracecraft: queued as (\S+), not done yet", done.stderr)
    assert found, done.stderr
    return found.group(1)


# -- with a relay --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "args",
    [
        ("memory", "set", "k", '{"a": 1}', "--json"),
        ("memory", "get", "shared", "--json"),
        ("memory", "get", "no-such"),
        ("memory", "get", "no-such", "--default", "-1"),
        ("claim", "held"),
        ("claim", "held", "--json"),
        ("tasks", "--json"),
        ("wait-for", "held", "--timeout", "200ms"),
        ("memory", "incr", "n", "-5"),
        ("memory", "get", "a b"),
        ("claim", "T", "--lease", "0"),
        ("inbox",),
    ],
    ids=" ".join,
)
def test_a_command_prints_and_exits_as_it_does_outside(sandbox: Sandbox, args: tuple[str, ...]) -> None:
    outside = sandbox.outside
    outside("memory", "set", "shared", '"words"', agent="w1")
    outside("claim", "held", "--lease", "1h", agent="w1")
    sandbox.relay()
    inside = sandbox(*args)
    direct = outside(*args, agent=AGENT)
    plain = re.compile(r'"(revision|expires_in)": [\d.]+|lapses in \d+ s|"session": "[^"]+"|^-\d+$', re.MULTILINE)
    assert inside.returncode == direct.returncode
    assert plain.sub("", inside.stdout) == plain.sub("", direct.stdout)
    assert plain.sub("", inside.stderr) == plain.sub("", direct.stderr)
    assert not sandbox.status(), "an answer that was told is gone"


def test_whoami_names_the_server_of_the_relay(sandbox: Sandbox) -> None:
    here = {"TRACECRAFT_SERVER": "nats://127.0.0.1:9"}
    alone = result(sandbox("whoami", "--json", env=here))
    assert (alone["server"], alone["origin"]["server"]) == (
        None,
        f"by relay, and none serves {sandbox.workspace} now: 'tracecraft relay {sandbox.workspace}' outside starts one",
    )
    sandbox.relay()
    told = result(sandbox("whoami", "--json", env=here))
    assert (told["server"], told["origin"]["server"]) == (
        urls.without_secrets(sandbox.outside.server),
        f"by the relay that serves {sandbox.workspace}",
    )
    assert f"by the relay that serves {sandbox.workspace}" in sandbox("whoami", env=here).stdout


def test_standard_input_and_files_go_along(sandbox: Sandbox) -> None:
    sandbox.relay()
    assert sandbox("memory", "set", "text", "-", input="from standard input\n").returncode == 0
    assert sandbox("memory", "get", "text").stdout == "from standard input\n"
    (sandbox.workspace / "plan.yaml").write_text("tasks: [{id: A}, {id: B, after: [A]}]", encoding="utf-8")
    assert result(sandbox("plan", "apply", "plan.yaml", "--json"))["created"] == ["A", "B"]
    assert result(sandbox("plan", "apply", "-", "--json", input="tasks: [{id: C}]"))["created"] == ["C"]
    missing = sandbox("plan", "apply", "no-such.yaml")
    assert (missing.returncode, "no-such.yaml: no such file" in missing.stderr) == (2, True)


def test_an_agent_is_the_same_inside_and_outside(sandbox: Sandbox) -> None:
    sandbox.relay()
    assert sandbox("claim", "T").returncode == 0
    assert result(sandbox.outside("claim", "T", "--json", agent=AGENT))["again"]
    assert sandbox("complete", "T", "--note", "done inside").returncode == 0
    assert result(sandbox.outside("task", "show", "T", "--json"))["handoff"]["note"] == "done inside"


def test_a_run_goes_on_from_command_to_command(sandbox: Sandbox) -> None:
    sandbox.relay()
    run = sandbox("run", "start", "probe").stdout.strip()
    assert result(sandbox("run", "log-metric", "loss", "0.5", "--json"))["run"] == run
    elsewhere = sandbox("run", "log-metric", "loss", "0.4", "--json", env={"TRACECRAFT_RUN": "another"})
    assert result(elsewhere)["run"] == "another"


def test_an_option_of_the_environment_counts(sandbox: Sandbox) -> None:
    sandbox.relay()
    assert result(sandbox("claim", "T", "--json", env={"TRACECRAFT_CLAIM_LEASE": "90s"}))["lease"] == 90
    assert json.loads(sandbox("tasks", env={"TRACECRAFT_JSON": "1"}).stdout)["ok"]


def test_a_wait_is_ended_by_what_others_do_and_holds_nothing_up(sandbox: Sandbox) -> None:
    sandbox.relay()
    waiting = sandbox.popen("wait-for", "T")
    sandbox.until(lambda: any(one["command"] == "wait-for" for one in sandbox.status().values()))
    assert sandbox("send", "w2", "still waiting").returncode == 0
    settle(sandbox.outside, "T", "w1")
    stdout, stderr = waiting.communicate(timeout=30)
    assert (waiting.returncode, stdout.startswith("T done")) == (0, True), stderr


def test_a_blocking_claim_gets_the_task_when_it_is_free(sandbox: Sandbox) -> None:
    sandbox.relay()
    sandbox.outside("claim", "T", agent="w1")
    waiting = sandbox.popen("claim", "T", "--wait", "30s", "--json")
    sandbox.until(lambda: any(one["command"] == "claim" for one in sandbox.status().values()))
    assert sandbox.outside("release", "T", agent="w1").returncode == 0
    stdout, stderr = waiting.communicate(timeout=40)
    assert json.loads(stdout)["result"]["task"] == "T", stderr


def test_a_watch_prints_each_message_when_it_comes(sandbox: Sandbox) -> None:
    sandbox.relay()
    watching = sandbox.popen("inbox", "--watch", "--json")
    assert watching.stdout is not None
    for text in ("first", "second"):
        sandbox.outside("send", AGENT, text, agent="w1")
        assert json.loads(watching.stdout.readline())["result"]["text"] == text


def test_the_agent_can_be_pinned(sandbox: Sandbox) -> None:
    sandbox.relay("--agent", "pinned")
    assert sandbox("memory", "set", "k", "1", agent="chief").returncode == 0
    assert result(sandbox.outside("memory", "list", "--json"))[0]["by"] == "pinned"


def test_another_project_is_refused(sandbox: Sandbox) -> None:
    sandbox.relay()
    done = sandbox("memory", "set", "k", "1", "--project", "foreign")
    assert done.returncode == 1
    assert f"the relay refuses: this relay is for project {sandbox.outside.project}, not 'foreign'" in done.stderr
    failed = sandbox("tasks", "--project", "foreign", "--json")
    assert json.loads(failed.stdout)["error"]["type"] == "NotAllowed"


def test_a_command_that_runs_a_program_is_not_relayed_and_says_what_helps(sandbox: Sandbox) -> None:
    sandbox.relay()
    for args in (("claim", "T", "--exec", "--", "touch", "x"), ("complete", "T", "--verify", "touch x")):
        done = sandbox(*args)
        assert (done.returncode, FIX in done.stderr) == (69, True)
        assert f"'{args[0]} {args[2]}' is nothing that a relay does" in done.stderr
    assert not (sandbox.workspace / "x").exists()


def test_files_are_reserved_from_inside_as_the_paths_that_they_are_inside(sandbox: Sandbox) -> None:
    src = sandbox.workspace / "src"
    (src / "[id]").mkdir(parents=True)
    (src / "[id]" / "x.py").touch()
    (sandbox.workspace / "link").symlink_to(src)
    sandbox.relay()
    held = sandbox("reserve", "src", "link/../docs/*.md", str(src / "[id]" / "x.py"), "--lease", "10m")
    assert held.returncode == 0, held.stderr
    assert [line.split(" fence ")[0] for line in held.stdout.splitlines()] == ["src/**", "docs/*.md", "src/[[]id]/x.py"]
    outside = sandbox.outside
    listed = result(outside("reserve", "--list", "--json"))
    assert {(one["glob"], one["owner"]) for one in listed} == {
        (glob, AGENT) for glob in ("src/**", "docs/*.md", "src/[[]id]/x.py")
    }
    assert sandbox("reserve", "--list", "src/a.py").stdout.splitlines()[1].startswith("src/**")
    told = sandbox("reserve", "--check", "./src/a.py", "new.py", agent="w2")
    assert (told.returncode, f"src/a.py is reserved by {AGENT} (as src/**)" in told.stderr) == (3, True)
    assert sandbox("reserve", "--check", "new.py", "./-x").stdout == "new.py is free\n-x is free\n"
    assert sandbox("reserve", "--release", "src").returncode == 0
    assert sandbox("reserve", "--release", "--all", "--json").returncode == 0
    assert result(outside("reserve", "--list", "--json")) == []


def test_a_path_outside_of_the_repository_is_refused_inside_and_nothing_is_sent(sandbox: Sandbox) -> None:
    sandbox.relay()
    done = sandbox("reserve", "../elsewhere")
    assert (done.returncode, "lies outside of" in done.stderr) == (2, True)
    assert sandbox.status() == {}


def test_reserving_needs_an_answer_and_a_commit_goes_on_without_one(sandbox: Sandbox) -> None:
    done = sandbox("reserve", "src")
    assert (done.returncode, f"start 'tracecraft relay {sandbox.workspace}'" in done.stderr) == (69, True)
    ran = sandbox("reserve", "src", "--exec", "--", "true")
    assert (ran.returncode, "'reserve --exec' is nothing that a relay does" in ran.stderr) == (69, True)
    git(sandbox, "init", "--quiet", "--initial-branch=main")
    assert sandbox("reserve", "--check", "--staged").returncode == 0
    (sandbox.workspace / "-a.py").touch()
    git(sandbox, "add", ".")
    checked = sandbox("reserve", "--check", "--staged")
    assert (checked.returncode, "nobody was asked" in checked.stderr) == (0, True)
    assert sandbox("reserve", "--check", "--staged", env={"TRACECRAFT_RESERVE_STRICT": "1"}).returncode == 69
    assert sandbox("reserve", "--install-git-hook").returncode == 0
    (sandbox.workspace / ".tracecraft.toml").write_text("project = ", encoding="utf-8")
    broken = sandbox("reserve", "--check", "--staged")
    assert (broken.returncode, "is not valid TOML" in broken.stderr) == (0, True), broken.stderr
    assert sandbox("reserve", "--check", "--staged", "--strict").returncode == 2


def test_a_commit_inside_is_checked_through_the_relay(sandbox: Sandbox) -> None:
    git(sandbox, "init", "--quiet", "--initial-branch=main")
    for number in range(250):  # more than go into a request
        (sandbox.workspace / f"-{number}.py").touch()
    git(sandbox, "add", ".")
    sandbox.relay()
    assert sandbox("reserve", "--check", "--staged").returncode == 0
    sandbox.outside("reserve", "--from-top", "./-99.py", agent="w1")
    refused = sandbox("reserve", "--check", "--staged")
    assert (refused.returncode, "--no-verify" in refused.stderr) == (3, True)
    assert "-99.py is reserved by w1 since" in refused.stderr


def git(sandbox: Sandbox, *words: str) -> None:
    subprocess.run(["git", "-C", str(sandbox.workspace), *words], check=True)


def test_of_two_relays_the_second_is_told_of_the_first(sandbox: Sandbox) -> None:
    first = sandbox.relay()
    done = sandbox.outside("relay", str(sandbox.workspace))
    assert done.returncode == 3
    assert f"process {first.process.pid} on " in done.stderr
    assert sandbox("memory", "set", "k", "1").returncode == 0, "the first goes on"


def test_a_relay_cannot_be_inside(sandbox: Sandbox) -> None:
    done = sandbox("relay", str(sandbox.workspace), env={"XDG_STATE_HOME": str(sandbox.workspace)})
    assert done.returncode == 2
    assert "start it outside" in done.stderr


def test_what_git_clean_removes_is_made_again(sandbox: Sandbox) -> None:
    import shutil

    sandbox.relay()
    shutil.rmtree(sandbox.workspace / ".tracecraft")
    sandbox.until((sandbox.folder / "beat.json").exists)
    assert sandbox("memory", "set", "k", "1").returncode == 0


# -- without a relay -----------------------------------------------------------------------------------------------


def test_what_only_writes_is_queued_and_done_in_order_when_a_relay_comes(sandbox: Sandbox) -> None:
    ids = [queued(sandbox("memory", "set", "k", str(number))) for number in range(5)]
    told = sandbox("send", "w2", "hello", "--json")
    error = json.loads(told.stdout)["error"]
    assert "a sandbox blocks the network" in error["message"]
    assert (told.returncode, error["code"], error["type"], error["queued"]) == (75, 75, "Queued", True)
    assert {one["state"] for one in sandbox.status().values()} == {"queued"}
    assert f"tracecraft relay {sandbox.workspace}" in told.stderr

    sandbox.relay()
    assert [sandbox.answer(id_).exit_code for id_ in ids] == [0] * 5
    history = result(sandbox.outside("memory", "history", "k", "--json"))
    assert [one["value"] for one in history] == list(range(5))
    receipt = sandbox.status()[error["request"]]
    assert all(re.fullmatch(r"[-\d]{10}T[\d:]{8}\.\d{3}Z", receipt[when]) for when in ("queued_at", "ended_at"))
    assert (receipt["state"], receipt["exit_code"], receipt["command"]) == ("acked", 0, "send")
    assert json.loads(receipt["stdout"])["result"]["id"] > 0
    assert result(sandbox.outside("inbox", "--json", agent="w2"))["messages"][0]["from"] == AGENT


def test_a_receipt_says_that_what_was_queued_failed(sandbox: Sandbox) -> None:
    id_ = queued(sandbox("complete", "T", "--note", "x"))
    sandbox.outside("claim", "T", agent="w1")
    sandbox.relay()
    answer = sandbox.answer(id_)
    assert (answer.state, answer.exit_code) == ("acked", 4)
    assert "you no longer hold T" in sandbox.status()[id_]["stderr"]


def test_recording_goes_on_with_exit_code_0_and_says_that_it_is_not_delivered(
    sandbox: Sandbox, nats: NatsServer
) -> None:
    for step in range(3):
        done = sandbox("run", "log-metric", "loss", "0.5", "--step", str(step), "--run", "r1", "--json")
        said = result(done)
        assert (said["queued"], said["delivered"]) == (True, False)
        assert "not done yet" in done.stderr
    once = sandbox.outside("relay", str(sandbox.workspace), "--once")
    assert once.returncode == 0, once.stderr
    assert [one["state"] for one in sandbox.status().values()] == ["acked"] * 3


@pytest.mark.parametrize(
    "args",
    [("claim", "T"), ("memory", "get", "k"), ("inbox",), ("wait-for", "T"), ("send", "w", "x", "--wait-ack", "5")],
    ids=" ".join,
)
def test_what_needs_an_answer_now_fails_with_the_fix_and_leaves_nothing(
    sandbox: Sandbox, args: tuple[str, ...]
) -> None:
    done = sandbox(*args)
    assert done.returncode == 69
    assert f"start 'tracecraft relay {sandbox.workspace}'" in done.stderr
    assert FIX in done.stderr
    assert not sandbox.waiting()


def test_the_folder_is_private_and_unknown_to_git(sandbox: Sandbox) -> None:
    queued(sandbox("send", "w", "x"))
    assert (sandbox.folder / ".gitignore").read_text(encoding="utf-8") == "*\n"
    assert sandbox.folder.stat().st_mode & 0o777 == 0o700


def test_status_of_a_workspace_without_any_of_it_makes_nothing(sandbox: Sandbox) -> None:
    assert result(sandbox("relay", "--status", "--json"))["requests"] == []
    assert not (sandbox.workspace / ".tracecraft").exists()


# -- where a sandbox is, and where none ------------------------------------------------------------------------------


@pytest.fixture
def refused(outside: CommandLine, tmp_path: Path) -> Iterator[Sandbox]:
    """A workspace in which the kernel refuses what it refuses in Codex's sandbox."""
    if subprocess.run([*refusing(), "true"], check=False).returncode == 77:
        pytest.skip("this machine has no such filters")
    (tmp_path / ".git").mkdir()
    box = Sandbox(outside, tmp_path, refusing())
    yield box
    box.close()


def test_a_kernel_that_refuses_every_connection_is_a_sandbox(refused: Sandbox) -> None:
    id_ = queued(refused("memory", "set", "k", "1"))
    refused.relay()
    assert refused.answer(id_).exit_code == 0
    assert refused("memory", "get", "k").stdout == "1\n"


def test_a_variable_alone_makes_no_sandbox_where_the_bus_answers(outside: CommandLine, tmp_path: Path) -> None:
    env = {detection.CODEX: "1", "TRACECRAFT_AGENT": AGENT}
    done = subprocess.run(
        outside.argv("memory", "set", "k", "1"), env=outside.environment(env=env), cwd=tmp_path, capture_output=True
    )
    assert (done.returncode, list(tmp_path.iterdir())) == (0, [])


def test_the_relay_can_be_asked_for_outright(outside: CommandLine, tmp_path: Path) -> None:
    done = outside("memory", "set", "k", "1", agent=AGENT, env={detection.RELAY: str(tmp_path)})
    assert done.returncode == 75
    read = outside("memory", "get", "k", agent=AGENT, env={detection.RELAY: str(tmp_path)})
    assert read.returncode == 69
    for told in (done, read):
        assert "TRACECRAFT_RELAY is set" in told.stderr
        assert "sandbox blocks" not in told.stderr
    assert (tmp_path / ".tracecraft/relay/requests").is_dir()


def test_a_relay_that_is_asked_for_where_nothing_is_makes_no_folder(outside: CommandLine, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    done = outside("tasks", agent=AGENT, env={detection.RELAY: str(nowhere)})
    assert (done.returncode, f"TRACECRAFT_RELAY={nowhere} is no folder" in done.stderr) == (2, True)
    assert not nowhere.exists()


def test_no_workspace_is_found_where_everybody_can_write(outside: CommandLine, tmp_path: Path) -> None:
    shared, own = tmp_path / "shared", tmp_path / "shared" / "own"
    own.mkdir(parents=True)
    (shared / ".git").mkdir()

    def once() -> subprocess.CompletedProcess[str]:
        argv, env = outside.argv("relay", "--once"), outside.environment()
        return subprocess.run(argv, cwd=own, env=env, capture_output=True, text=True, check=False)

    done = once()  # a .git that is none makes no workspace of the folder above
    assert (done.returncode, sorted(path.name for path in own.iterdir())) == (0, [".tracecraft"])
    assert [path.name for path in shared.iterdir() if path.name == ".tracecraft"] == []
    (own / ".tracecraft/relay/.gitignore").unlink()
    own.chmod(0o1777)
    refused = once()
    assert (refused.returncode, f"{own} can be written by everybody" in refused.stderr) == (2, True)


def test_a_relay_without_a_bus_says_so(sandbox: Sandbox) -> None:
    relay = sandbox.relay("--server", "nats://127.0.0.1:1")
    assert "nats://127.0.0.1:1 does not answer yet" in relay.stop()


# -- runs that Python records ----------------------------------------------------------------------------------------

RECORD = """
import sys, tracecraft
with tracecraft.run("inside", run_id="r1", patience=0.1) as run:
    for number in range(20):
        run.log_metric("loss", number)
    run.log("said inside")
print(run.summary.where)
assert run.summary.dropped == 0, run.summary
"""


RECORD_ASYNC = """
import asyncio, tracecraft
async def main():
    async with tracecraft.run("inside", run_id="r1", patience=0.1) as run:
        for number in range(20):
            run.log_metric("loss", number)
        await run.flush()
    return run.summary
print(asyncio.run(main()).where)
"""


@pytest.mark.parametrize("program", [RECORD, RECORD_ASYNC], ids=["blocking", "asyncio"])
async def test_a_run_is_recorded_where_threads_cannot_wake_a_loop(
    refused: Sandbox, nats: NatsServer, program: str
) -> None:
    done = refused.python("-c", program)
    assert done.returncode == 0, done.stderr
    assert str(refused.folder / "spool") in done.stdout
    assert refused.outside("relay", str(refused.workspace), "--once").returncode == 0
    assert points(await logged(nats.url, refused.outside.project)) == list(range(20))


async def test_a_run_recorded_inside_is_delivered_by_the_relay_once(sandbox: Sandbox, nats: NatsServer) -> None:
    done = sandbox.python("-c", RECORD)
    assert done.returncode == 0, done.stderr
    assert str(sandbox.folder / "spool") in done.stdout
    relay = sandbox.relay()
    places = (sandbox.folder, home(sandbox.workspace))  # it goes through the one, then the other
    sandbox.until(lambda: not [path for place in places for path in place.glob("spool/*/*/*/owner.json")])
    relay.stop()
    sandbox.relay().stop()
    events = await logged(nats.url, sandbox.outside.project)
    assert points(events) == list(range(20))
    assert {stored.subject.split(".")[1] for stored in events} == {sandbox.outside.project}
    assert len([stored for stored in events if stored.subject.endswith(".log")]) == 1
