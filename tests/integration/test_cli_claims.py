"""``tracecraft claim``, ``renew`` and ``release``, each command a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.others import settle
from tracecraft_core.bodies import Handoff

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.cli import CommandLine

TRACECRAFT = f"{sys.executable} -m tracecraft_cli"


def result(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["result"]


def error(done: subprocess.CompletedProcess[str]) -> Any:
    return json.loads(done.stdout)["error"]


def until(happened: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# -- one winner ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("racers", [2, 8, 20])
def test_of_many_processes_that_claim_one_task_at_once_exactly_one_wins_and_the_others_name_it(
    cli: CommandLine, racers: int
) -> None:
    processes = [cli.popen("claim", "T", "--json", agent=f"a{number}") for number in range(racers)]
    answers = [(process.communicate(timeout=60)[0], process.returncode) for process in processes]
    winners = [number for number, (_, code) in enumerate(answers) if code == 0]
    assert len(winners) == 1, answers
    losers = [json.loads(out)["error"] for out, code in answers if code == 3]
    assert len(losers) == racers - 1
    assert {loser["owner"] for loser in losers} == {f"a{winners[0]}"}


def test_claiming_an_unknown_task_creates_it(cli: CommandLine) -> None:
    claim = result(cli("claim", "S1.parse", "--json", agent="alice"))
    assert (claim["task"], claim["attempt"], claim["lease"]) == ("S1.parse", 1, 900)
    assert claim["fence"] > 0
    shown = result(cli("task", "show", "S1.parse", "--json"))
    assert (shown["state"], shown["owner"], shown["lease"]["owner"]) == ("claimed", "alice", "alice")


def test_a_refusal_says_who_has_it_since_when_and_until_when(cli: CommandLine) -> None:
    cli("claim", "T", "--lease", "90s", agent="alice")
    claimed = result(cli("task", "show", "T", "--json"))["time"]
    cli("renew", "T", agent="alice")
    refused = cli("claim", "T", "--json", agent="bob")
    assert refused.returncode == 3
    assert error(refused)["owner"] == "alice"
    assert error(refused)["since"] == claimed  # not when the lease was renewed
    assert 60 < error(refused)["expires_in"] <= 90
    assert "alice" in refused.stderr


def test_claiming_what_the_same_agent_and_session_hold_succeeds_again_with_the_same_fence(cli: CommandLine) -> None:
    first = result(cli("claim", "T", "--json", agent="alice"))
    again = result(cli("claim", "T", "--json", agent="alice"))
    assert (first["again"], again["again"]) == (False, True)
    assert again["fence"] == first["fence"]
    other = cli("claim", "T", "--json", agent="alice", env={"TRACECRAFT_SESSION": "another"})
    assert other.returncode == 3


def test_two_commands_of_one_agent_that_claim_at_once_both_hold_it(cli: CommandLine) -> None:
    processes = [cli.popen("claim", "T", "--json", agent="alice") for _ in range(4)]
    answers = [(process.communicate(timeout=60), process.returncode) for process in processes]
    assert [code for _, code in answers] == [0] * 4, answers
    assert len({json.loads(out)["result"]["fence"] for (out, _), _ in answers}) == 1


def test_a_refusal_by_oneself_says_that_another_session_has_it(cli: CommandLine) -> None:
    cli("claim", "T", "--session", "one", agent="alice")
    refused = cli("claim", "T", "--session", "two", agent="alice")
    assert refused.returncode == 3
    assert "T is held in another session of alice" in refused.stderr
    assert "another session" not in cli("claim", "T", agent="bob").stderr


def test_a_claim_shows_the_beginning_of_much_data_and_where_the_rest_is(cli: CommandLine) -> None:
    cli("task", "add", "T", "--data", json.dumps("x" * 5_000))
    shown = cli("claim", "T", agent="alice").stdout
    assert len(shown) < 2_300
    assert "all 5,000 characters: tracecraft task show T --json" in shown
    assert len(result(cli("claim", "T", "--json", agent="alice"))["data"]) == 5_000


def test_the_fence_grows_with_every_claim_of_a_task(cli: CommandLine) -> None:
    fences = []
    for agent in ("alice", "bob", "alice"):
        fences.append(result(cli("claim", "T", "--json", agent=agent))["fence"])
        assert cli("release", "T", agent=agent).returncode == 0
    assert fences == sorted(set(fences))


def test_a_task_that_is_done_is_not_claimed_again_but_one_that_failed_is(cli: CommandLine) -> None:
    settle(cli, "T1", "alice", "done")
    assert cli("claim", "T1", agent="bob").returncode == 3
    settle(cli, "T2", "alice", "failed", Handoff(note="so it went"))
    again = cli("claim", "T2", agent="bob")
    assert "last note:\n  > so it went" in again.stdout


# -- several, and the next ----------------------------------------------------------------------------------------


def test_several_tasks_are_claimed_all_or_none(cli: CommandLine) -> None:
    cli("claim", "B", agent="alice")
    refused = cli("claim", "C", "B", "A", agent="bob")
    assert refused.returncode == 3
    assert "B is held by alice" in refused.stderr
    assert [task["task"] for task in result(cli("tasks", "--json"))] == ["B"]  # and nothing was created in vain
    cli("release", "B", agent="alice")
    taken = cli("claim", "C", "B", "A", agent="bob")
    assert [line.split()[0] for line in taken.stdout.splitlines()] == ["C", "B", "A"]


def test_of_many_that_want_one_task_besides_others_one_gets_all_and_nobody_keeps_a_part(cli: CommandLine) -> None:
    wishes = [("Z", f"A{number}", "Y") if number % 2 else ("Y", f"A{number}", "Z") for number in range(6)]
    racers = [cli.popen("claim", *wish, agent=f"a{number}") for number, wish in enumerate(wishes)]
    codes = [(process.communicate(timeout=30), process.returncode)[1] for process in racers]
    winners = [number for number, code in enumerate(codes) if code == 0]
    assert set(codes) <= {0, 3}
    assert len(winners) <= 1  # none, when each had a part that another wanted
    claimed = {task["task"]: task["owner"] for task in result(cli("tasks", "--json")) if task["state"] == "claimed"}
    assert claimed == {task: f"a{number}" for number in winners for task in wishes[number]}


def test_a_wait_for_several_tasks_ends_when_the_last_of_them_is_free_and_writes_nothing_before(
    cli: CommandLine,
) -> None:
    cli("claim", "A", agent="alice")
    cli("claim", "B", agent="alice")
    waiting = cli.popen("claim", "A", "B", "C", "--wait", "20s", agent="bob")
    time.sleep(1)
    cli("release", "A", agent="alice")
    time.sleep(0.5)
    assert waiting.poll() is None
    assert [task["task"] for task in result(cli("tasks", "--json"))] == ["B", "A"]
    assert len(result(cli("task", "show", "A", "--json"))["history"]) == 2
    cli("complete", "B", "--status", "failed", agent="alice")
    out, err = waiting.communicate(timeout=10)
    assert [line.split()[0] for line in out.splitlines()] == ["A", "B", "C"], err


def test_next_takes_the_first_claimable_task_and_says_when_nothing_is_left(cli: CommandLine) -> None:
    plan = "[{id: S1.a, title: first, data: {n: 1}}, {id: S1.b, after: [S1.a]}, {id: S2.a}]"
    cli("plan", "apply", "-", input=plan)
    claim = result(cli("claim", "--next", "S1.*", "--json", agent="alice"))
    assert (claim["task"], claim["title"], claim["data"]) == ("S1.a", "first", {"n": 1})
    waiting = cli("claim", "--next", "S1.*", agent="bob")
    assert waiting.returncode == 3
    assert "S1.a is held by alice" in waiting.stderr
    assert "S1.b waits for S1.a" in waiting.stderr
    assert result(cli("claim", "--next", "--json", agent="bob"))["task"] == "S2.a"
    cli("complete", "S1.a", agent="alice")
    assert result(cli("claim", "--next", "S1.*", "--json", agent="alice"))["task"] == "S1.b"
    cli("complete", "S1.b", agent="alice")
    nothing = cli("claim", "--next", "S1.*", agent="bob")
    assert nothing.returncode == 7
    assert "all 2 that match are settled" in nothing.stderr


def test_a_task_is_refused_until_what_it_comes_after_is_done_and_a_waiting_claim_gets_it_then(cli: CommandLine) -> None:
    cli("task", "add", "B", "--after", "A")
    refused = cli("claim", "B", agent="bob").stderr
    assert "B waits for " in refused
    assert "A is unknown" in refused
    waiting = cli.popen("claim", "B", "--wait", "20s", agent="bob")
    assert waiting.poll() is None
    settle(cli, "A", "alice")
    assert waiting.communicate(timeout=5)[0].startswith("B fence ")


def test_a_claim_that_waits_in_vain_exits_with_124_and_says_who_has_it(cli: CommandLine) -> None:
    cli("claim", "T", agent="alice")
    began = time.monotonic()
    late = cli("claim", "T", "--wait", "1s", agent="bob")
    assert late.returncode == 124
    assert "alice" in late.stderr
    assert time.monotonic() - began < 4


# -- leases -------------------------------------------------------------------------------------------------------


def test_a_one_shot_lease_lapses_not_a_moment_before_its_time_and_the_takeover_is_told(cli: CommandLine) -> None:
    cli("claim", "T", "--lease", "2s", agent="alice")
    began = time.monotonic()
    taken = cli("claim", "T", "--wait", "10s", agent="bob")
    assert 1.0 < time.monotonic() - began < 4
    assert "taken over from alice, whose lease had lapsed" in taken.stdout
    lost = cli("complete", "T", agent="alice")
    assert lost.returncode == 4
    assert "bob has it now" in lost.stderr


def test_every_command_of_an_agent_renews_what_it_holds_and_tells_what_it_lost(cli: CommandLine) -> None:
    cli("claim", "T", "--lease", "2s", agent="alice")
    for _ in range(2):
        time.sleep(1.2)
        assert cli("memory", "get", "k", "--default", "0", agent="alice").stderr == ""
    assert cli("claim", "T", agent="bob").returncode == 3
    assert cli("claim", "T", "--wait", "10s", agent="bob").returncode == 0
    told = cli("memory", "get", "k", "--default", "0", agent="alice")
    assert told.returncode == 0
    assert "you no longer hold T: bob has it now" in told.stderr
    assert cli("memory", "get", "k", "--default", "0", agent="alice").stderr == ""  # once


def test_renew_extends_all_that_is_held_and_reports_what_is_lost_with_exit_code_4(cli: CommandLine) -> None:
    for task in ("A", "B", "C"):
        cli("claim", task, agent="alice")
    cli("complete", "B", "--force", "--reason", "stuck", agent="boss")
    renewed = cli("renew", "--lease", "1h", agent="alice")
    assert renewed.returncode == 4
    assert "you no longer hold B: boss has it now (done)" in renewed.stderr
    assert [line.split()[0] for line in renewed.stdout.splitlines()] == ["A", "C"]
    assert all(line.endswith("lease 1h") for line in renewed.stdout.splitlines())
    assert cli("renew", agent="alice").returncode == 0


def test_a_released_task_is_open_for_others_with_its_note(cli: CommandLine) -> None:
    cli("claim", "T", agent="alice")
    assert cli("release", "T", "--note", "libxml2 is missing here", agent="alice").stdout == "T open\n"
    assert "libxml2 is missing here" in cli("claim", "T", agent="bob").stdout
    late = cli("release", "T", agent="alice")
    assert late.returncode == 4
    assert "bob has it now" in late.stderr


def test_an_agent_killed_between_its_lease_and_its_record_can_claim_again_soon(cli: CommandLine) -> None:
    session = json.loads(cli("whoami", "--json", agent="alice").stdout)["result"]["session"]
    lease = json.dumps({"owner": "alice", "session": session, "nonce": "n", "ttl": 900})
    put_lease = f"""
import asyncio, os
from tracecraft.async_session import AsyncSession
async def main():
    async with AsyncSession(mode="oneshot") as session:
        context = session.context
        await context.bus.cas(*context.kv("tc_leases", "T"), {lease.encode()!r}, 0, ttl=900)
asyncio.run(main())
"""
    cli("tasks", agent="alice")
    subprocess.run([sys.executable, "-c", put_lease], env=cli.environment("alice"), check=True)
    assert cli("claim", "T", agent="bob").returncode == 3
    assert cli("claim", "T", agent="alice").returncode == 0


# -- --exec -------------------------------------------------------------------------------------------------------


def test_a_program_that_ends_with_0_completes_the_task_and_its_output_is_ours(cli: CommandLine) -> None:
    done = cli("claim", "T", "--exec", "--", "sh", "-c", "echo out; echo err >&2", agent="alice")
    assert (done.returncode, done.stdout) == (0, "out\n")
    assert "err\n" in done.stderr
    assert result(cli("task", "show", "T", "--json"))["state"] == "done"


def test_a_program_that_fails_fails_the_task_with_its_exit_code_and_its_last_words(cli: CommandLine) -> None:
    done = cli("claim", "T", "--json", "--exec", "--", "sh", "-c", "echo no such file >&2; exit 7", agent="alice")
    assert done.returncode == 7
    assert result_of_exec(done) == {"task": "T", "state": "failed", "exit_code": 7}
    shown = result(cli("task", "show", "T", "--json"))
    assert shown["state"] == "failed"
    assert "exited with 7: no such file" in shown["handoff"]["note"]


def result_of_exec(done: subprocess.CompletedProcess[str]) -> Any:
    found = json.loads(done.stdout.splitlines()[-1])["result"]
    found.pop("fence")
    return found


def test_commands_in_the_program_act_as_the_owner_and_may_settle_the_task_themselves(cli: CommandLine) -> None:
    script = f"""
        env | grep ^TRACECRAFT_ >&2
        {TRACECRAFT} memory set k 1 --under $TRACECRAFT_TASK || exit 9
        {TRACECRAFT} complete --status needs_review --note 'look at it' || exit 9
        sleep 1.5; exit 5"""
    done = cli("claim", "--next", "T.*", "--lease", "1s", "--exec", "--", "sh", "-c", script, agent="alice")
    assert done.returncode == 7  # nothing matches yet
    cli("task", "add", "T.1")
    done = cli("claim", "--next", "T.*", "--lease", "1s", "--exec", "--", "sh", "-c", script, agent="alice")
    assert done.returncode == 5, done.stderr
    shown = result(cli("task", "show", "T.1", "--json"))
    assert (shown["state"], shown["handoff"]["note"]) == ("needs_review", "look at it")
    environment = dict(line.split("=", 1) for line in done.stderr.splitlines() if line.startswith("TRACECRAFT_"))
    assert environment["TRACECRAFT_TASK"] == "T.1"
    assert environment["TRACECRAFT_SESSION"] == shown["session"]
    assert (environment["TRACECRAFT_AGENT"], environment["TRACECRAFT_PROJECT"]) == ("alice", cli.project)
    assert int(environment["TRACECRAFT_FENCE"]) < shown["revision"]


def test_the_token_of_the_bus_is_in_the_environment_of_the_program_and_in_no_argument(cli: CommandLine) -> None:
    script = """
import os, pathlib
token = os.environ["TRACECRAFT_SERVER"].partition("//")[2].partition("@")[0].encode()
print(sum(token in path.read_bytes() for path in pathlib.Path("/proc").glob("[0-9]*/cmdline")))
print(os.environ["TRACECRAFT_SERVER"])
"""
    done = cli("claim", "T", "--exec", "--", sys.executable, "-c", script, agent="alice")
    assert done.stdout.splitlines() == ["0", cli.server], done.stderr


def test_a_holder_that_runs_a_program_keeps_its_lease_for_as_long_as_it_runs(cli: CommandLine) -> None:
    holder = cli.popen("claim", "T", "--lease", "1s", "--exec", "--", "sleep", "4", agent="alice")
    until(lambda: "T" in cli("tasks", agent="bob").stdout)
    refusals = 0
    while holder.poll() is None:
        code = cli("claim", "T", agent="bob").returncode
        assert code == 3
        refusals += 1
    assert holder.returncode == 0
    assert refusals > 5
    assert result(cli("task", "show", "T", "--json"))["owner"] == "alice"


def test_two_processes_of_one_agent_never_both_run_a_program_under_one_task(cli: CommandLine) -> None:
    pair = [cli.popen("claim", "T", "--exec", "--", "sleep", "1", agent="alice") for _ in range(2)]
    assert sorted((process.communicate(timeout=20), process.returncode)[1] for process in pair) == [0, 3]


def test_a_holder_that_slept_through_its_lease_stops_its_program_and_changes_nothing(cli: CommandLine) -> None:
    script = "echo $$; trap '' TERM; sleep 60 & wait; sleep 60"
    holder = cli.popen(
        "claim", "T", "--lease", "1s", "--grace", "0.5s", "--exec", "--", "sh", "-c", script, agent="alice"
    )
    assert holder.stdout is not None
    program = int(holder.stdout.readline())
    os.kill(holder.pid, signal.SIGSTOP)
    taken = result(cli("claim", "T", "--wait", "10s", "--json", agent="bob"))
    assert runs(program)
    os.kill(holder.pid, signal.SIGCONT)
    _, err = holder.communicate(timeout=20)
    assert holder.returncode == 4, err
    assert "bob has it now" in err
    assert not runs(program)
    shown = result(cli("task", "show", "T", "--json"))
    assert (shown["owner"], shown["revision"]) == ("bob", taken["fence"])


def test_a_program_does_not_outlive_a_claim_that_was_killed(cli: CommandLine) -> None:
    script = "sleep 61 & sleep 0.3; echo $!; wait"
    holder = cli.popen("claim", "T", "--lease", "2s", "--exec", "--", "sh", "-c", script, agent="alice")
    assert holder.stdout is not None
    grandchild = int(holder.stdout.readline())
    holder.kill()
    until(lambda: not runs(grandchild), 3)
    assert "taken over from alice" in cli("claim", "T", "--wait", "10s", agent="bob").stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_program_and_the_task_is_given_back(cli: CommandLine, number: signal.Signals) -> None:
    script = "trap 'echo stopped; exit 0' INT TERM; echo ready; sleep 60 & wait"
    holder = cli.popen("claim", "T", "--grace", "0.3s", "--exec", "--", "sh", "-c", script, agent="alice")
    assert holder.stdout is not None
    assert holder.stdout.readline() == "ready\n"
    holder.send_signal(number)
    out, err = holder.communicate(timeout=10)
    assert (out, holder.returncode) == ("stopped\n", 128 + number), err
    shown = result(cli("task", "show", "T", "--json"))
    assert (shown["state"], shown["handoff"]["note"]) == ("open", f"interrupted by {number.name}")
    assert cli("claim", "T", agent="bob").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_program_that_ignores_a_signal_is_killed_after_the_grace(cli: CommandLine, number: signal.Signals) -> None:
    script = "trap '' INT TERM; echo ready; sleep 8"
    holder = cli.popen("claim", "T", "--grace", "0.5s", "--exec", "--", "sh", "-c", script, agent="alice")
    assert holder.stdout is not None
    assert holder.stdout.readline() == "ready\n"
    began = time.monotonic()
    holder.send_signal(number)
    _, err = holder.communicate(timeout=20)
    assert 0.4 < time.monotonic() - began < 5
    assert holder.returncode == 128 + number, err
    assert result(cli("task", "show", "T", "--json"))["state"] == "open"


@pytest.mark.parametrize("json_", [[], ["--json"]])
def test_a_claim_that_cannot_be_printed_stands_and_says_so_in_one_line(cli: CommandLine, json_: list[str]) -> None:
    done = into_full(cli, "claim", "T", *json_)
    said = "tracecraft: cannot write the output: No space left on device; the claim stands: T\n"
    assert (done.returncode, done.stderr) == (1, said)
    assert "held already" in cli("claim", "T", agent="alice").stdout


@pytest.mark.parametrize("args", [["inbox"], ["--help"], ["claim", "--help"], ["tasks", "--json"]])
def test_output_that_cannot_be_written_is_one_line_and_exit_code_1(cli: CommandLine, args: list[str]) -> None:
    cli("send", "alice", "hello", agent="bob")
    cli("task", "add", "T")
    done = into_full(cli, *args)
    assert (done.returncode, done.stderr) == (1, "tracecraft: cannot write the output: No space left on device\n")
    assert "hello" in cli("inbox", agent="alice").stdout


def test_an_error_that_cannot_be_printed_as_json_keeps_its_code(cli: CommandLine) -> None:
    done = into_full(cli, "memory", "get", "nothing", "--json")
    assert done.returncode == 1
    assert done.stderr.startswith("tracecraft: no memory key 'nothing'")
    assert done.stderr.count("\n") == 1


def into_full(cli: CommandLine, *args: str) -> subprocess.CompletedProcess[str]:
    """Run a command as alice, whose standard output takes nothing."""
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        return subprocess.run(
            cli.argv(*args),
            env=cli.environment("alice"),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )


def test_a_program_that_cannot_be_run_claims_nothing(cli: CommandLine) -> None:
    wrong = cli("claim", "T", "--exec", "--", "no-such-program", agent="alice")
    assert wrong.returncode == 2
    assert "no-such-program" in wrong.stderr
    assert result(cli("tasks", "--json")) == []


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "name the tasks"),
        (["T", "--next", "X.*"], "name the tasks"),
        (["T", "--exec"], "--exec runs what stands behind '--'"),
        (["T", "--", "make", "test"], "did you mean --exec?"),
        (["T", "--", "make", "--exec"], "did you mean --exec?"),
        (["T", "--lease", "0s"], "from 1 second to 24 hours"),
        (["T", "--lease", "soon"], "is not a duration"),
        (["a b"], "character ' ' at position 2"),
        (["--next", "a..b"], "empty token"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_was_expected(cli: CommandLine, args: list[str], says: str) -> None:
    wrong = cli("claim", *args)
    assert wrong.returncode == 2
    assert says in wrong.stderr
    assert result(cli("tasks", "--json")) == []
