"""``tracecraft memory`` as its users have it: processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from tracecraft_cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.cli import CommandLine
    from tracecraft_stack.nats_server import NatsServer

WRITERS = 20


def result(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["ok"] is True
    return answer["result"]


def failure(done: subprocess.CompletedProcess[str], code: int) -> Any:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    answer = json.loads(done.stdout)
    assert (answer["ok"], answer["error"]["code"]) == (False, code)
    return answer["error"]


def test_set_prints_the_revision_and_get_prints_strings_bare_and_json_as_json(cli: CommandLine) -> None:
    first = cli("memory", "set", "k", "- plain words")
    assert first.returncode == 0
    assert int(first.stdout) > 0
    assert cli("memory", "get", "k").stdout == "- plain words\n"
    second = result(cli("memory", "set", "k", '{"papers": 47, "big": 12345678901234567890123}', "--json"))
    assert second["revision"] > int(first.stdout)
    assert cli("memory", "get", "k").stdout == '{"papers": 47, "big": 12345678901234567890123}\n'
    assert cli("memory", "get", "k", "--revision", first.stdout.strip()).stdout == "- plain words\n"
    cli("memory", "set", "k", "47", "--text")
    assert result(cli("memory", "get", "k", "--json"))["value"] == "47"


def test_a_value_from_standard_input_comes_out_as_it_went_in(cli: CommandLine) -> None:
    text = "line one\n\n  line three \u202e\x1b[2J\n"
    assert cli("memory", "set", "doc", "-", input=text).returncode == 0
    assert cli("memory", "get", "doc").stdout == text
    cli("memory", "set", "n", "-", input="[1, 2]\n")
    assert result(cli("memory", "get", "n", "--json"))["value"] == [1, 2]


def test_a_key_without_a_value_exits_with_1_unless_there_is_a_default(cli: CommandLine) -> None:
    assert failure(cli("memory", "get", "never", "--json"), 1)["type"] == "NotFound"
    missing = cli("memory", "get", "never")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "no memory key 'never'" in missing.stderr
    assert result(cli("memory", "get", "never", "--default", "0", "--json"))["value"] == 0
    assert cli("memory", "get", "never", "--default", "none yet").stdout == "none yet\n"


def test_a_condition_that_does_not_hold_exits_with_3_and_writes_nothing(cli: CommandLine) -> None:
    first = result(cli("memory", "set", "k", "1", "--if-absent", "--json"))["revision"]
    second = result(cli("memory", "set", "k", "2", "--if-revision", str(first), "--json"))["revision"]
    absent = failure(cli("memory", "set", "k", "3", "--if-absent", "--json"), 3)
    stale = failure(cli("memory", "set", "k", "3", "--if-revision", str(first), "--json"), 3)
    assert (absent["actual"], stale["actual"]) == (second, second)
    assert f"memory key k is not at revision {first}, it is {second}" in stale["message"]
    failure(cli("memory", "delete", "k", "--if-revision", str(first), "--json"), 3)
    assert result(cli("memory", "get", "k", "--json"))["revision"] == second
    assert cli("memory", "delete", "k", "--if-revision", str(second)).returncode == 0
    assert cli("memory", "get", "k").returncode == 1
    assert cli("memory", "delete", "k").returncode == 1
    assert cli("memory", "set", "k", "4", "--if-absent").returncode == 0


def test_the_better_value_stays(cli: CommandLine) -> None:
    better = ("--if-better", "score", "--json")
    first = result(cli("memory", "set", "best", '{"run": "a", "score": 0.7}', *better))
    failure(cli("memory", "set", "best", '{"run": "b", "score": 0.7}', *better), 3)
    failure(cli("memory", "set", "best", '{"run": "c", "score": 0.6}', *better), 3)
    assert (
        result(cli("memory", "set", "best", '{"run": "d", "score": 0.6}', *better, "--lower"))["revision"]
        > first["revision"]
    )
    assert result(cli("memory", "get", "best", "--json"))["value"]["run"] == "d"
    assert result(cli("memory", "set", "n", "3", "--if-better", ".", "--json"))["revision"]
    assert "no number at 'score'" in failure(cli("memory", "set", "best", "{}", *better), 2)["message"]
    assert "--if-better" in failure(cli("memory", "set", "best", "1", "--lower", "--json"), 2)["message"]


def test_list_and_history_show_lines_for_people_and_everything_as_json(cli: CommandLine) -> None:
    long = "x" * 5000
    cli("memory", "set", "a.hostile", "one\ntwo\x1b[2J")
    cli("memory", "set", "a.long", long)
    cli("memory", "set", "b", "7")
    cli("memory", "delete", "b")
    listed = cli("memory", "list", env={"COLUMNS": "60"}).stdout.splitlines()
    assert listed[0].split() == ["key", "revision", "value"]
    assert listed[1].endswith("one\\ntwo\\x1b[2J")
    assert listed[2].endswith("x…")
    assert max(len(line) for line in listed) <= 60
    assert len(listed) == 3
    entries = result(cli("memory", "list", "--prefix", "a.", "--json"))
    assert [(entry["key"], entry["value"]) for entry in entries] == [
        ("a.hostile", "one\ntwo\x1b[2J"),
        ("a.long", long),
    ]
    history = cli("memory", "history", "b").stdout.splitlines()
    assert history[1].endswith(" s ago  7")
    assert history[2].endswith("(deleted)")
    assert [entry["deleted"] for entry in result(cli("memory", "history", "b", "--limit", "1", "--json"))] == [True]


def test_an_empty_list_prints_nothing_but_a_note(cli: CommandLine) -> None:
    done = cli("memory", "list", "--prefix", "none")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("no keys that begin with none")


def test_incr_takes_negative_numbers_and_fractions_and_refuses_words(cli: CommandLine) -> None:
    assert cli("memory", "incr", "n").stdout == "1\n"
    assert cli("memory", "incr", "n", "-5").stdout == "-4\n"
    assert cli("memory", "incr", "n", "-0.5", "--json").stdout == (
        '{"ok": true, "result": {"key": "n", "value": -4.5}}\n'
    )
    assert cli("memory", "incr", "n", "+1e1").stdout == "5.5\n"
    cli("memory", "set", "word", "five")
    refused = cli("memory", "incr", "word")
    assert refused.returncode == 2
    assert "word holds 'five', which is not a number" in refused.stderr


def test_merge_prints_what_it_made_and_reads_standard_input(cli: CommandLine) -> None:
    assert cli("memory", "merge", "plan", '{"a": 1, "b": {"c": 2}}').stdout == '{"a": 1, "b": {"c": 2}}\n'
    assert cli("memory", "merge", "plan", "-", input='{"a": null, "b": {"d": 3}}\n').stdout == (
        '{"b": {"c": 2, "d": 3}}\n'
    )


def test_twenty_processes_at_once_lose_no_update(cli: CommandLine) -> None:
    half = WRITERS // 2
    adding = [cli.popen("memory", "incr", "n", "3", agent=f"w{number}") for number in range(half)]
    merging = [
        cli.popen("memory", "merge", "who", json.dumps({f"w{number}": number}), agent=f"m{number}")
        for number in range(half)
    ]
    for process in adding + merging:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert cli("memory", "get", "n").stdout == f"{3 * half}\n"
    merged = result(cli("memory", "get", "who", "--json"))["value"]
    assert merged == {f"w{number}": number for number in range(half)}


HAMMER = """
import sys, tracecraft
_, server, project, name, rounds = sys.argv
with tracecraft.connect(server=server, project=project, agent=name) as session:
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(int(rounds)):
        session.memory.incr("n")
        session.memory.merge("m", {f"{name}-{number}": number})
"""


def test_twenty_connected_processes_that_hammer_two_keys_lose_no_update(cli: CommandLine) -> None:
    rounds = 10
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", HAMMER, cli.server, cli.project, f"w{number}", str(rounds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(WRITERS)
    ]
    try:
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write("go\n")
            writer.stdin.flush()
        for writer in writers:
            writer.communicate(timeout=90)
            assert writer.returncode == 0
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    history = result(cli("memory", "history", "n", "--limit", "1000", "--json"))
    assert [entry["value"] for entry in history] == list(range(1, WRITERS * rounds + 1))
    merged = result(cli("memory", "get", "m", "--json"))["value"]
    assert merged == {f"w{number}-{round_}": round_ for number in range(WRITERS) for round_ in range(rounds)}


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_a_watch_in_another_process_sees_changes_as_they_happen(cli: CommandLine) -> None:
    first = cli("memory", "set", "w.start", "0").stdout.strip()
    watcher = cli.popen("memory", "watch", "w.*", "--initial", "--count", "4", "--timeout", "30s")
    assert line_of(watcher) == f"w.start  {first}  0\n"
    cli("memory", "set", "x", "1")
    second = cli("memory", "set", "w.a", "two\nlines").stdout.strip()
    assert line_of(watcher) == f"w.a  {second}  two\\nlines\n"
    third = cli("memory", "delete", "w.a").stdout.strip()
    assert line_of(watcher) == f"w.a  {third}  (deleted)\n"
    cli("memory", "incr", "w.n")
    assert line_of(watcher).endswith("  1\n")
    assert watcher.wait(10) == 0


def test_a_watch_survives_the_restart_of_the_server(own_nats: NatsServer, cli: CommandLine) -> None:
    cli.server = own_nats.url
    cli("memory", "set", "w.start", "0")
    watcher = cli.popen("memory", "watch", "w.>", "--initial", "--json", "--count", "3", "--timeout", "60s")
    assert json.loads(line_of(watcher))["result"]["value"] == 0
    own_nats.kill()
    own_nats.start()
    cli("memory", "set", "w.a", "1")
    assert json.loads(line_of(watcher))["result"]["value"] == 1
    cli("memory", "set", "w.a", "2")
    assert json.loads(line_of(watcher))["result"]["value"] == 2
    assert watcher.wait(10) == 0


def test_a_watch_that_times_out_exits_with_124_only_when_it_was_to_count(cli: CommandLine) -> None:
    cli("memory", "set", "k", "1")
    short = cli("memory", "watch", "k", "--initial", "--timeout", "300ms")
    assert (short.returncode, short.stdout.split()[::2]) == (0, ["k", "1"])
    late = cli("memory", "watch", "k", "--initial", "--count", "2", "--timeout", "300ms")
    assert late.returncode == 124
    assert "timed out after 0.3 s waiting for 2 changes of k" in late.stderr


def test_an_interrupted_watch_ends_with_130(cli: CommandLine) -> None:
    cli("memory", "set", "k", "1")
    watcher = cli.popen("memory", "watch", "k", "--initial")
    assert line_of(watcher).startswith("k  ")
    watcher.send_signal(2)
    _, errors = watcher.communicate(timeout=10)
    assert (watcher.returncode, errors) == (130, "")


def test_two_projects_never_see_each_other(cli: CommandLine) -> None:
    cli("memory", "set", "k", "mine")
    other = f"{cli.project}x"
    assert cli("memory", "get", "k", project=other).returncode == 1
    assert cli("memory", "list", project=other).stdout == ""
    assert cli("memory", "watch", ">", "--initial", "--timeout", "300ms", project=other).stdout == ""
    assert cli("log", "--subject", "memory.>", project=other).stdout == ""


def within_a_second(run: Callable[[], subprocess.CompletedProcess[str]]) -> subprocess.CompletedProcess[str]:
    """What a command answers in less than a second, in one of three tries: the machine has other work too."""
    for _ in range(3):
        begin = time.monotonic()
        done = run()
        if time.monotonic() - begin < 1:
            return done
    pytest.fail("took more than a second, three times")


BAD_KEYS = ["a..b", ".a", "a.", "a b", "a*", ">", "a.é", "tab\tkey", "x" * 257, "", "a\x1bb", "$KV.x"]


@pytest.mark.parametrize("key", BAD_KEYS)
@pytest.mark.parametrize(
    "command",
    [("get",), ("set", "v"), ("delete",), ("history",), ("incr",), ("merge", "{}"), ("set", "v", "--if-absent")],
)
def test_a_wrong_key_exits_with_2_and_says_what_is_wrong_without_a_server(key: str, command: tuple[str, ...]) -> None:
    verb, *rest = command
    begin = time.monotonic()
    outcome = CliRunner().invoke(main, ["memory", verb, key, *rest, "--json", "-s", "nats://127.0.0.1:1"])
    assert time.monotonic() - begin < 1
    error = json.loads(outcome.stdout)["error"]
    assert (outcome.exit_code, error["code"], error["type"], error["value"]) == (2, 2, "InvalidName", key)
    assert "for example" in error["message"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("memory", "set", "a..b", "1"), "memory key 'a..b': has an empty token"),
        (("memory", "watch", "a.>.b"), "'>' must be the last token; for example 'S1.*'"),
        (("memory", "list", "--prefix", "a b"), "character ' ' at position 2"),
        (("memory", "set", "k", "1", "--if-absent", "--if-revision", "3"), "exclude each other"),
        (("memory", "set", "k", "1", "--if-revision", "-1"), "Invalid value for '--if-revision'"),
        (("memory", "set", "k", "1", "--under", "a b"), "task id 'a b': character ' '"),
        (("memory", "incr", "k", "five"), "N 'five' is not a number; for example 3 or -0.25"),
        (("memory", "merge", "k", "{a}"), "the patch is not JSON"),
        (("memory", "watch", "k", "--timeout", "soon"), "'soon' is not a duration; for example 90, 15m, 1.5h or 2d"),
        (("memory", "get", "k", "--project", "a b"), "project 'a b': character ' ' at position 2"),
        (("memory", "get", "k", "--agent", "a.b"), "agent 'a.b': character '.' at position 2"),
    ],
)
def test_wrong_usage_exits_with_2_without_a_server(args: tuple[str, ...], message: str) -> None:
    outcome = CliRunner().invoke(main, [*args, "-s", "nats://127.0.0.1:1"])
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert message in outcome.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("memory", "set", "a..b", "1"), "memory key 'a..b': has an empty token"),
        (("memory", "set", "k", b"\xff"), "VALUE is not UTF-8"),
        (("memory", "watch", "a.>.b"), "'>' must be the last token; for example 'S1.*'"),
    ],
)
def test_wrong_usage_of_a_process_exits_with_2_under_a_second(
    cli: CommandLine, args: tuple[str | bytes, ...], message: str
) -> None:
    done = within_a_second(lambda: cli(*args))  # type: ignore[arg-type]
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_value_over_the_limit_exits_with_2_and_says_where_it_belongs(cli: CommandLine) -> None:
    done = cli("memory", "set", "k", "-", input="x" * 300_000)
    assert done.returncode == 2
    assert "over the limit of 262,144: put it into a file or object store" in done.stderr
    assert cli("memory", "get", "k").returncode == 1


def test_without_a_server_a_command_exits_with_69_at_once(cli: CommandLine) -> None:
    error = failure(within_a_second(lambda: cli("memory", "get", "k", "-s", "nats://127.0.0.1:1", "--json")), 69)
    assert "start one with 'tracecraft serve'" in error["message"]
