"""``tracecraft wait-for``: one blocking call in a process of its own, while others do what it waits for."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.others import settle
from tracecraft_core.bodies import Handoff

if TYPE_CHECKING:
    import subprocess

    from tests.support.cli import CommandLine
    from tracecraft_core.bodies import Settlement

REACTION_S = 1.0


def started(cli: CommandLine, *args: str, agent: str = "boss") -> subprocess.Popen[str]:
    """A wait that has begun to watch: its consumers exist."""
    process = cli.popen("wait-for", *args, agent=agent)
    time.sleep(0.6)
    assert process.poll() is None, process.communicate()
    return process


def ended(process: subprocess.Popen[str], seconds: float = 5) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


def result(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["result"]


def test_it_returns_when_the_last_task_is_done_and_prints_what_was_handed_over(cli: CommandLine) -> None:
    wait = started(cli, "A", "B")
    for task, agent in (("A", "alice"), ("B", "bob")):
        cli("claim", task, agent=agent)
        assert wait.poll() is None
        cli("complete", task, "--note", f"{task} is in out/", "--result", '{"n":1}', "--next-action", "go", agent=agent)
    code, out, _ = ended(wait, REACTION_S)
    assert code == 0
    assert out.splitlines()[:6] == [
        "A done by alice",
        "note:",
        "  > A is in out/",
        "next action:",
        "  > go",
        'result: {"n": 1}',
    ]
    assert "B done by bob" in out


def test_what_is_done_already_needs_no_wait(cli: CommandLine) -> None:
    settle(cli, "A", "alice", handoff=Handoff(note="x"))
    found = result(cli("wait-for", "A", "--json", "--timeout", "5s"))
    assert found["reason"] == "done"
    (task,) = found["tasks"]
    assert (task["task"], task["owner"], task["handoff"]["note"]) == ("A", "alice", "x")


def test_with_any_one_is_enough(cli: CommandLine) -> None:
    wait = started(cli, "A", "B", "--any")
    settle(cli, "B", "bob")
    assert ended(wait, REACTION_S)[:2] == (0, "B done by bob\n")


def test_a_pattern_stands_for_all_that_match_when_the_wait_begins(cli: CommandLine) -> None:
    for task in ("S1.a", "S1.b"):
        cli("task", "add", task)
    wait = started(cli, "S1.*")
    cli("task", "add", "S1.late")
    for task in ("S1.a", "S1.b"):
        assert wait.poll() is None
        settle(cli, task, "alice")
    assert ended(wait)[0] == 0
    assert cli("wait-for", "nothing.*").returncode == 1


@pytest.mark.parametrize("status", ["failed", "blocked"])
def test_a_task_that_failed_or_is_blocked_ends_the_wait_with_5_and_its_note(
    cli: CommandLine, status: Settlement
) -> None:
    wait = started(cli, "A", "B")
    settle(cli, "A", "alice", status, Handoff(note="no disk"))
    code, out, err = ended(wait, REACTION_S)
    assert (code, out) == (5, "")
    assert f"A is {status}: no disk" in err


def test_a_task_that_needs_review_is_waited_for(cli: CommandLine) -> None:
    wait = started(cli, "A", "--timeout", "1.5s")
    settle(cli, "A", "alice", "needs_review")
    assert ended(wait)[0] == 124


def test_a_dead_owner_ends_the_wait_with_6_within_a_second_of_the_lapse(cli: CommandLine) -> None:
    holder = cli.popen("claim", "A", "--lease", "2s", "--exec", "--", "sleep", "60", agent="alice")
    time.sleep(0.8)
    wait = started(cli, "A", "--fail-on-lost")
    patient = started(cli, "A", "--timeout", "10s")
    holder.kill()
    killed = time.monotonic()
    code, _, err = ended(wait)
    assert code == 6
    assert "alice lost A" in err
    assert 0.5 < time.monotonic() - killed < 2 + REACTION_S
    assert patient.poll() is None  # without the option the next owner may finish it
    settle(cli, "A", "bob")
    assert ended(patient)[:2] == (0, "A done by bob\n")


def test_an_owner_that_gives_the_task_back_is_not_lost(cli: CommandLine) -> None:
    cli("claim", "A", agent="alice")
    wait = started(cli, "A", "--fail-on-lost", "--timeout", "10s")
    cli("release", "A", agent="alice")
    settle(cli, "A", "bob")
    assert ended(wait)[0] == 0


def test_a_wait_in_vain_ends_with_124_and_names_what_is_missing(cli: CommandLine) -> None:
    settle(cli, "A", "alice")
    late = cli("wait-for", "A", "B", "--timeout", "1s", "--json")
    assert late.returncode == 124
    assert json.loads(late.stdout)["error"]["what"] == "B (unknown)"


def test_mail_ends_the_wait_too_and_is_not_taken(cli: CommandLine) -> None:
    wait = started(cli, "A", "--or-message", "--json")
    alone = started(cli, "--or-message")
    cli("claim", "B", agent="alice")
    cli("complete", "B", "--to", "boss", agent="alice")
    code, out, _ = ended(wait, REACTION_S)
    assert (code, json.loads(out)["result"]["reason"]) == (0, "message")
    assert "tracecraft inbox" in ended(alone)[1]
    assert result(cli("status", "--json", agent="boss"))["project"]["unread"] == 1


def test_for_as_long_as_it_waits_it_keeps_what_its_agent_holds(cli: CommandLine) -> None:
    cli("claim", "MINE", "--lease", "1s", agent="boss")
    wait = started(cli, "A", "--timeout", "20s")
    assert cli("claim", "MINE", "--wait", "2s", agent="alice").returncode == 124
    settle(cli, "A", "alice")
    assert ended(wait)[0] == 0


def test_waiting_for_nothing_is_wrong_usage(cli: CommandLine) -> None:
    assert cli("wait-for").returncode == 2
    assert cli("wait-for", "a b").returncode == 2
