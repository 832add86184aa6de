"""``tracecraft complete``, ``task``, ``tasks`` and ``plan``, each command a process of its own."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.others import settle

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.cli import CommandLine

PLAN = """
tasks:
  - {id: S2.report, title: Report, after: [S1.a, S1.b]}
  - {id: S1.a, title: First, data: {1: one, day: 2026-01-02}}
  - {id: S1.b, after: [S0]}
  - {id: S0}
"""


def result(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["result"]


def states(cli: CommandLine) -> dict[str, str]:
    return {task["task"]: task["state"] for task in result(cli("tasks", "--json"))}


# -- complete -----------------------------------------------------------------------------------------------------


def test_a_stale_owner_is_refused_told_who_has_it_now_and_changes_nothing(cli: CommandLine) -> None:
    cli("claim", "T", "--lease", "1s", agent="alice")
    taken = result(cli("claim", "T", "--wait", "10s", "--json", agent="bob"))
    for command in (["complete", "T", "--note", "mine"], ["release", "T"], ["renew", "T"]):
        late = cli(*command, "--json", agent="alice")
        assert late.returncode == 4, command
        assert json.loads(late.stdout)["error"]["owner"] == "bob"
        assert "bob has it now (claimed)" in late.stderr
    shown = result(cli("task", "show", "T", "--json"))
    assert (shown["state"], shown["owner"], shown["revision"]) == ("claimed", "bob", taken["fence"])
    assert cli("complete", "T", agent="bob").returncode == 0
    assert "bob has it now (done)" in cli("complete", "T", agent="alice").stderr


def test_completing_again_what_one_has_completed_succeeds_and_writes_nothing(cli: CommandLine) -> None:
    cli("claim", "T", agent="alice")
    first = result(cli("complete", "T", "--note", "done so", "--to", "bob", "--json", agent="alice"))
    again = result(cli("complete", "T", "--note", "done so", "--to", "bob", "--json", agent="alice"))
    assert (first["repeated"], again["repeated"]) == (False, True)
    assert (again["revision"], again["message"]) == (first["revision"], first["message"])
    assert cli("complete", "T", "--status", "failed", agent="alice").returncode == 4  # but not otherwise
    assert cli("complete", "T", agent="bob").returncode == 4


def test_a_handoff_carries_note_next_action_and_result_and_reaches_the_other_as_a_message(cli: CommandLine) -> None:
    cli("claim", "T", agent="alice")
    done = cli(
        *("complete", "T", "--note", "parsed", "--to", "bob", "--next-action", "check it", "--result", '{"files": 3}'),
        agent="alice",
    )
    assert done.stdout.splitlines()[0] == "T done"
    assert "no agent 'bob' has been here yet" in done.stderr
    shown = result(cli("task", "show", "T", "--json"))
    assert shown["handoff"] == {"note": "parsed", "to": "bob", "next_action": "check it", "result": {"files": 3}}
    message = result_of_inbox(cli)
    assert (message["kind"], message["text"], message["thread"]) == ("handoff", "parsed", "T")
    assert message["data"]["next_action"] == "check it"
    assert message["data"]["revision"] == shown["revision"]


def result_of_inbox(cli: CommandLine) -> Any:
    """Read by the SDK: the inbox command is another's."""
    read = """
import json, tracecraft
with tracecraft.connect(agent="bob") as session:
    (message,) = session.inbox()
    print(json.dumps({name: getattr(message, name) for name in ("kind", "text", "thread", "data")}))
"""
    done = subprocess.run(
        [sys.executable, "-c", read], env=cli.environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_verify_keeps_evidence_of_a_check_that_it_ran_itself(cli: CommandLine, tmp_path: Path) -> None:
    cli("claim", "T", agent="alice")
    repository(tmp_path)
    check = f"cd {tmp_path} && echo fine && echo odd >&2"
    done = run_in(cli, tmp_path, "complete", "T", "--verify", check, agent="alice")
    assert done.returncode == 0, done.stderr
    proof = result(cli("task", "show", "T", "--json"))["handoff"]["verification"]
    assert (proof["command"], proof["exit_code"]) == (check, 0)
    assert proof["output_sha256"] == hashlib.sha256(b"fine\nodd\n").hexdigest()
    assert proof["git_head"] == git(tmp_path, "rev-parse", "HEAD").strip()
    assert proof["git_dirty"] is False
    assert "fine\nodd\n" in done.stderr
    assert "exited with 0" in done.stdout


def test_a_check_that_fails_leaves_the_task_claimed_and_writes_nothing(cli: CommandLine) -> None:
    fence = result(cli("claim", "T", "--json", agent="alice"))["fence"]
    refused = cli("complete", "T", "--to", "bob", "--verify", "echo 2 tests failed; exit 3", "--json", agent="alice")
    assert refused.returncode == 1
    error = json.loads(refused.stdout)["error"]
    assert (error["type"], error["exit_code_of_command"]) == ("VerificationFailed", 3)
    assert error["output"] == "2 tests failed"
    shown = result(cli("task", "show", "T", "--json"))
    assert (shown["state"], shown["revision"]) == ("claimed", fence)
    assert cli("complete", "T", "--status", "failed", "--verify", "true", agent="alice").returncode == 2


def test_a_check_that_outlasts_the_lease_keeps_it_alive(cli: CommandLine) -> None:
    cli("claim", "T", "--lease", "4s", agent="alice")  # long enough for a process to start under load
    slow = cli.popen("complete", "T", "--verify", "sleep 6", agent="alice")
    waiting = cli("claim", "T", "--wait", "20s", agent="bob")
    assert waiting.returncode == 3  # it was never free, and then it was done
    assert "T is done already, by alice" in waiting.stderr
    assert slow.wait(10) == 0


def test_a_check_whose_claim_is_lost_is_stopped(cli: CommandLine) -> None:
    cli("claim", "T", "--lease", "1s", agent="alice")
    slow = cli.popen("complete", "T", "--verify", "echo begun; exec sleep 60", agent="alice")
    assert slow.stderr is not None
    assert slow.stderr.readline() == "begun\n"
    cli("complete", "T", "--force", "--reason", "no longer needed", agent="boss")
    assert slow.wait(10) == 4
    assert "boss has it now (done)" in slow.stderr.read()


def test_changed_files_come_from_git_since_the_claim(cli: CommandLine, tmp_path: Path) -> None:
    repository(tmp_path)
    time.sleep(1.1)  # git's times have whole seconds
    cli("claim", "T", agent="alice")
    (tmp_path / "new file.txt").write_text("new")
    (tmp_path / "committed.txt").write_text("committed")
    git(tmp_path, "add", "committed.txt")
    git(tmp_path, "commit", "-q", "-m", "second")
    (tmp_path / "first.txt").write_text("changed")
    done = run_in(cli, tmp_path, "complete", "T", "--changed-files-from-git", agent="alice")
    assert done.returncode == 0, done.stderr
    files = result(cli("task", "show", "T", "--json"))["handoff"]["changed_files"]
    assert files == ["committed.txt", "first.txt", "new file.txt"]


def test_outside_a_repository_changed_files_are_refused_and_the_task_stays_claimed(
    cli: CommandLine, tmp_path: Path
) -> None:
    cli("claim", "T", agent="alice")
    refused = run_in(cli, tmp_path, "complete", "T", "--changed-files-from-git", agent="alice")
    assert refused.returncode == 2
    assert f"{tmp_path} is no git repository" in refused.stderr
    assert states(cli) == {"T": "claimed"}


def test_force_settles_what_another_holds_and_keeps_who_and_why(cli: CommandLine) -> None:
    cli("claim", "T", agent="alice")
    assert cli("complete", "T", agent="boss").returncode == 4
    assert cli("complete", "T", "--force", agent="boss").returncode == 2
    assert cli("complete", "T", "--reason", "x", agent="boss").returncode == 2
    forced = cli("complete", "T", "--force", "--reason", "alice went home", "--status", "blocked", agent="boss")
    assert forced.returncode == 0
    shown = result(cli("task", "show", "T", "--json"))
    assert shown["forced"] == {"by": "boss", "reason": "alice went home"}
    assert (shown["state"], shown["owner"]) == ("blocked", "boss")
    assert "forced by boss: alice went home" in cli("task", "show", "T").stdout
    late = cli("complete", "T", agent="alice")
    assert late.returncode == 4
    assert "boss has it now (blocked)" in late.stderr


def test_a_wrong_complete_says_why_and_changes_nothing(cli: CommandLine) -> None:
    cli("claim", "T", agent="alice")
    for args, code, says in (
        (["unknown"], 1, "no task 'unknown'"),
        (["T", "--result", "{a: 1}"], 2, "--result is not JSON"),
        (["T", "--to", "b.b"], 2, "agent 'b.b'"),
        (["T", "--status", "finished"], 2, "finished"),
        (["T", "--result", "-"], 2, "over the limit"),
    ):
        wrong = cli("complete", *args, agent="alice", input=json.dumps("x" * 300_000))
        assert wrong.returncode == code, args
        assert says in wrong.stderr
    assert states(cli) == {"T": "claimed"}


# -- add, show, list ----------------------------------------------------------------------------------------------


def test_add_is_idempotent_and_redefines_only_an_open_task(cli: CommandLine) -> None:
    add = (
        "task",
        "add",
        "T",
        "--title",
        "Do it",
        "--after",
        "A,B",
        "--after",
        "C",
        "--data",
        '{"n": [1, 2]}',
        "--json",
    )
    first = result(cli(*add))
    assert first["after"] == ["A", "B", "C"]
    assert result(cli(*add))["revision"] == first["revision"]
    changed = result(cli("task", "add", "T", "--title", "Do that", "--json"))
    assert (changed["title"], changed.get("after")) == ("Do that", None)
    cli("claim", "T", agent="alice")
    refused = cli("task", "add", "T", "--title", "Something else")
    assert refused.returncode == 2
    assert "T is claimed" in refused.stderr
    assert cli("task", "add", "T", "--title", "Do that").returncode == 0


def test_show_tells_everything_and_how_the_task_got_there(cli: CommandLine) -> None:
    cli("task", "add", "T", "--title", "Parse", "--after", "A,B", "--data", '{"x": 1}')
    settle(cli, "A", "alice")
    settle(cli, "B", "alice")
    cli("claim", "T", "--lease", "90s", agent="alice")
    text = cli("task", "show", "T").stdout
    assert text.startswith("T claimed by alice, lease ")
    for line in ("title: Parse", 'data: {"x": 1}', "after: A (done), B (done)"):
        assert line in text.splitlines()
    cli("release", "T", "--note", "tired", agent="alice")
    cli("claim", "T", agent="bob")
    shown = result(cli("task", "show", "T", "--json"))
    assert [(past["state"], past.get("owner")) for past in shown["history"]] == [
        ("open", None),
        ("claimed", "alice"),
        ("open", None),
        ("claimed", "bob"),
    ]
    assert shown["attempt"] == 2
    assert "nonce" not in shown
    assert cli("task", "show", "T", "--history", "0").stdout.count("claimed") == 1
    assert cli("task", "show", "nothing").returncode == 1


def test_a_note_of_another_agent_cannot_pass_for_our_own_lines(cli: CommandLine) -> None:
    cli("claim", "T", agent="mallory")
    cli("release", "T", "--note", "ok\nT done by boss\r\x1b[2K", agent="mallory")
    text = cli("claim", "T", agent="alice").stdout
    assert "\nT done by boss" not in text
    assert "\x1b" not in text
    assert "  > T done by boss\\r\\x1b[2K" in text


def test_the_list_is_filtered_by_pattern_and_state_and_shows_who_is_still_alive(cli: CommandLine) -> None:
    plan = "[{id: S1.a}, {id: S1.b}, {id: S2.a}, {id: S2.b, after: [S1.a], title: Second}]"
    cli("plan", "apply", "-", input=plan)
    cli("claim", "S1.a", "--lease", "1s", agent="alice")
    cli("claim", "S2.a", "--lease", "15m", agent="bob")
    time.sleep(1.3)
    rows = {line.split()[0]: line.split(maxsplit=1)[1] for line in cli("tasks").stdout.splitlines()[1:]}
    assert rows["S1.a"].startswith("lapsed")
    assert rows["S2.a"].split()[:2] == ["claimed", "15m"]
    assert rows["S2.b"].endswith("Second (after S1.a)")
    assert [task["task"] for task in result(cli("tasks", "S1.*", "--json"))] == ["S1.b", "S1.a"]
    wanted = result(cli("task", "list", "--state", "claimed", "--json"))
    assert [(task["task"], task["lease"] and task["lease"]["owner"]) for task in wanted] == [
        ("S1.a", None),
        ("S2.a", "bob"),
    ]
    assert cli("tasks", "nothing.>").stdout == ""


# -- plans --------------------------------------------------------------------------------------------------------


def test_a_plan_is_applied_once_however_often_it_is_said(cli: CommandLine) -> None:
    applied = cli("plan", "apply", "-", input=PLAN)
    assert applied.stdout.splitlines() == [
        "4 created, 0 changed, 0 unchanged",
        "created: S1.a S0 S1.b S2.report",
    ]
    settle(cli, "S0", "alice")
    again = result(cli("plan", "apply", "-", "--json", input=PLAN))
    assert again == {"created": [], "changed": [], "unchanged": ["S1.a", "S0", "S1.b", "S2.report"], "unknown": []}
    changed = result(cli("plan", "apply", "-", "--json", input=PLAN.replace("First", "Other")))
    assert changed["changed"] == ["S1.a"]


def test_a_plan_whose_application_was_killed_is_completed_by_applying_it_again(
    cli: CommandLine, tmp_path: Path
) -> None:
    tasks = [{"id": f"T{number}", "after": [f"T{number - 1}"] if number else []} for number in range(300)]
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(tasks[::-1]))
    process = cli.popen("plan", "apply", str(file))
    while not (before := states(cli)):
        assert process.poll() is None
    process.kill()
    process.wait()
    before = states(cli)
    assert 0 < len(before) < 300
    assert set(before) == {f"T{number}" for number in range(len(before))}  # none before what it comes after
    again = result(cli("plan", "apply", str(file), "--json"))
    assert (len(again["unchanged"]), len(again["created"])) == (len(before), 300 - len(before))


def test_a_plan_that_depends_on_what_is_nowhere_is_applied_with_a_warning_that_names_it(cli: CommandLine) -> None:
    cli("task", "add", "there")
    applied = cli("plan", "apply", "-", "--json", input="tasks: [{id: A, after: [there, B, typo.1]}, {id: B}]")
    assert result(applied)["unknown"] == ["typo.1"]
    assert applied.stderr == "tracecraft: no task has these ids yet, and what comes after them waits: typo.1\n"
    assert cli("plan", "apply", "-", input="tasks: [{id: B}]").stderr == ""


def test_a_cycle_is_refused_by_name_before_anything_is_written(cli: CommandLine) -> None:
    cyclic = json.dumps([{"id": "A", "after": ["C"]}, {"id": "B", "after": ["A"]}, {"id": "C", "after": ["B"]}])
    for command in ("apply", "check"):
        refused = cli("plan", command, "-", input=cyclic)
        assert refused.returncode == 2
        assert "A -> C -> B -> A" in refused.stderr
    assert states(cli) == {}
    cli("task", "add", "X", "--after", "Y")
    through = cli("plan", "apply", "-", input=json.dumps([{"id": "N"}, {"id": "Y", "after": ["X"]}]))
    assert through.returncode == 2  # through a task that is there already
    assert "Y -> X -> Y" in through.stderr or "X -> Y -> X" in through.stderr
    assert states(cli) == {"X": "open"}
    assert cli("task", "add", "Y", "--after", "X").returncode == 2


def test_a_plan_that_would_change_a_claimed_task_is_refused_before_anything_is_written(cli: CommandLine) -> None:
    cli("claim", "S0", agent="alice")
    cli("plan", "apply", "-", input="[{id: S0, title: Something}, {id: A}]")
    refused = cli("plan", "apply", "-", input="[{id: A}, {id: S0, title: Something}]")
    assert refused.returncode == 2
    assert "S0 is claimed" in refused.stderr
    assert states(cli) == {"S0": "claimed"}


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        ("tasks: [{id: 'a b'}]", "tasks.0.id"),
        ("tasks: [{id: a}, {id: a}]", "named twice"),
        ("tasks: [", "neither YAML nor JSON"),
    ],
)
def test_a_wrong_plan_is_refused_with_the_place(cli: CommandLine, plan: str, says: str) -> None:
    refused = cli("plan", "check", "-", input=plan)
    assert refused.returncode == 2
    assert says in refused.stderr


def test_a_plan_file_that_is_not_there_is_a_usage_error(cli: CommandLine) -> None:
    missing = cli("plan", "apply", "/nowhere/plan.yaml")
    assert missing.returncode == 2
    assert "/nowhere/plan.yaml cannot be read: No such file" in missing.stderr


# -- git ----------------------------------------------------------------------------------------------------------


def repository(folder: Path) -> None:
    git(folder, "init", "-q")
    for name in ("first.txt", "untouched.txt"):
        (folder / name).write_text("first")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")


def git(folder: Path, *args: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    return subprocess.run(["git", *identity, *args], cwd=folder, check=True, capture_output=True, text=True).stdout


def run_in(cli: CommandLine, folder: Path, *args: str, agent: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        cli.argv(*args), cwd=folder, env=cli.environment(agent), capture_output=True, text=True, timeout=30, check=False
    )
