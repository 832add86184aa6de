"""``tracecraft session``: sessions of coding agents are listed, mirrored, followed, shown and searched."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.cli import CommandLine
from tests.support.coding_sessions import CLAUDE, CODEX, HERMES, OPENCLAW, answer, append, assistant, text, tool, user
from tracecraft.transcripts import finder, mirror, watching
from tracecraft.transcripts.mirror import Mirror
from tracecraft.transcripts.watching import Watcher
from tracecraft_core import settings

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.coding_sessions import Home
    from tracecraft.transcripts.mirror import Progress
    from tracecraft_stack import Stack


class Sessions(CommandLine):
    """The command line on a machine with sessions of all four."""

    def __init__(self, server: str, project: str, home: Home) -> None:
        super().__init__(server, project)
        self.home = home

    def environment(self, *args: Any, **kwargs: Any) -> dict[str, str]:
        return super().environment(*args, **kwargs) | self.home.environment()

    def do(self, *args: str) -> str:
        """Run a command of the group that must succeed."""
        done = self("session", *args)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def result(self, *args: str) -> Any:
        """Its result as JSON."""
        return json.loads(self.do(*args, "--json"))["result"]


@pytest.fixture
def sessions(stack: Stack, project: str, coding_home: Home) -> Iterator[Sessions]:
    assert stack.state.nats_url
    line = Sessions(stack.state.nats_url, project, coding_home)
    yield line
    line.close()


def test_sessions_are_listed_before_and_after_they_are_mirrored(sessions: Sessions) -> None:
    listed = {row["session"]: row for row in sessions.result("list")}
    assert {listed[one]["source"] for one in (CLAUDE, CODEX, HERMES, OPENCLAW)} == {
        *("claude", "codex", "hermes", "openclaw")
    }
    mine = listed[CLAUDE]
    assert (mine["folder"], mine["turns"], mine["tokens"], mine["mirrored"]) == ("/srv/widgets", 5, 1141, None)
    assert mine["cost"] == pytest.approx(0.006495750000000001)

    sessions.do("mirror", CLAUDE)
    mine = {row["session"]: row for row in sessions.result("list")}[CLAUDE]
    assert (mine["agent"], mine["turns"], mine["tokens"]) == ("widgets-claude", 5, 1141)
    assert mine["mirrored"] == mine["last"] == "2026-11-22T22:59:23.934000Z"
    table = sessions.do("list")
    assert table.splitlines()[0].split() == [
        *("session", "source", "folder", "agent", "started", "last", "turns", "tokens", "cost", "mirrored")
    ]
    assert [line for line in table.splitlines() if CLAUDE in line and "widgets-claude" in line]


def test_a_session_of_another_machine_is_listed_and_shown(sessions: Sessions) -> None:
    sessions.do("mirror", CLAUDE)
    sessions.home.claude.rename(sessions.home.folder / "gone.jsonl")
    (mine,) = [row for row in sessions.result("list") if row["session"] == CLAUDE]
    assert (mine["path"], mine["tokens"], mine["folder"]) == (None, 1141, "/srv/widgets")
    assert "  > AGAIN" in sessions.do("show", CLAUDE)


def test_nothing_is_mirrored_that_was_not_asked_for(sessions: Sessions) -> None:
    refused = sessions("session", "mirror")
    assert refused.returncode == 2
    assert "which sessions? Name one, or say --all" in refused.stderr
    assert [row["mirrored"] for row in sessions.result("list")] == [None] * 5


def test_which_sessions_is_asked_before_there_is_a_bus_and_what_was_understood_is_said(
    coding_home: Home, project: str, sessions: Sessions
) -> None:
    away = Sessions("nats://127.0.0.1:9", project, coding_home)("session", "mirror")
    assert (away.returncode, "which sessions? Name one" in away.stderr) == (2, True), away.stderr
    os.utime(sessions.home.claude, (1_795_000_000, 1_795_000_000))
    for verb in ("mirror", "list"):
        none = sessions("session", verb, "--source", "claude", "--since", "5", "--folder", "/srv/none")
        assert none.returncode == 0, none.stderr
        assert "no session of claude that changed in the last 5.0 s and worked in /srv/none" in none.stderr


def test_a_session_that_another_project_has_is_mirrored_again_only_by_name(sessions: Sessions, project: str) -> None:
    sessions.do("mirror", CLAUDE)
    other = f"{project}-other"

    def there(*args: str) -> subprocess.CompletedProcess[str]:
        done = sessions("session", *args, project=other)
        assert done.returncode == 0, done.stderr
        return done

    listed = {row["session"]: row for row in json.loads(there("list", "--json").stdout)["result"]}
    assert (listed[CLAUDE]["elsewhere"], listed[CODEX]["elsewhere"]) == (project, None)
    assert [line for line in there("list").stdout.splitlines() if CLAUDE in line and f"in {project}" in line]
    done = there("mirror", "--source", "claude")
    assert done.stdout == ""
    assert f"claude-{CLAUDE} is mirrored into project {project} already: name it to have it here too" in done.stderr
    assert "new steps" in there("mirror", CLAUDE).stdout
    assert "nothing new" in there("mirror", "--source", "claude").stdout


def test_a_watch_leaves_what_another_project_has(sessions: Sessions, project: str) -> None:
    sessions.do("mirror", CLAUDE)
    append(sessions.home.claude.parent / "new.jsonl", user(1, "go"))
    os.utime(sessions.home.claude)
    other = f"{project}-other"
    watch = sessions.popen("session", "watch", "--source", "claude", "--json", project=other)
    assert _next(watch) == ("claude-new", 1)
    watch.send_signal(signal.SIGINT)
    out, err = watch.communicate(timeout=60)
    assert (watch.returncode, out) == (0, ""), err
    assert err.count(f"claude-{CLAUDE} is mirrored into project {project} already") == 1
    assert json.loads(sessions("runs", "--json", project=other).stdout)["result"][0]["run"] == "claude-new"


@pytest.mark.parametrize(
    ("options", "count"),
    [
        pytest.param(["--all"], 5, id="all"),
        pytest.param(["--source", "codex", "--source", "hermes"], 3, id="source"),
        pytest.param(["--folder", "/srv/gadgets"], 2, id="folder"),
        pytest.param(["--since", "1h", "--source", "claude"], 0, id="since"),
    ],
)
def test_options_say_which_sessions_are_meant(sessions: Sessions, options: list[str], count: int) -> None:
    os.utime(sessions.home.claude, (1_795_000_000, 1_795_000_000))
    done = sessions("session", "mirror", *options, "--json")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == count


def test_a_part_of_an_id_must_mean_one_session(sessions: Sessions) -> None:
    assert sessions("session", "mirror", "01a2057").returncode == 2
    assert "nothing like it" not in sessions.do("mirror", "4a8ba")
    missing = sessions("session", "show", "zzz")
    assert (missing.returncode, "no session 'zzz'" in missing.stderr) == (1, True), missing.stderr


def test_a_conversation_reads_the_same_from_the_file_and_from_the_run(sessions: Sessions) -> None:
    local = sessions.result("show", CLAUDE, "--local")
    sessions.do("mirror", CLAUDE)
    mirrored = sessions.result("show", CLAUDE)

    def said(parts: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
        shown = ("kind", "name", "words", "answer", "error", "tokens")
        return [tuple(part[name] for name in shown) for part in parts]

    assert said(mirrored) == said(local)
    assert sum(part["tokens"] for part in mirrored) == 1141


def test_a_project_without_the_run_says_which_file_is_shown_in_its_place(sessions: Sessions) -> None:
    sessions.do("mirror", CLAUDE)
    assert sessions("session", "show", CLAUDE).stderr == ""
    elsewhere = sessions("session", "show", CLAUDE, project=f"{sessions.project}-other")
    assert elsewhere.returncode == 0
    assert f"project {sessions.project}-other has no runs" in elsewhere.stderr
    assert f"; this is the transcript {sessions.home.claude}, and not what was recorded of it\n" in elsewhere.stderr


def test_words_in_a_conversation_have_no_power_over_the_terminal(sessions: Sessions, tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    evil = "done\x1b[2J\u202egnp\n2026-11-22 10:00:00  user -> root"
    append(
        path, user(1, evil), *assistant(2, tool("t", command="cat")), answer(300, "t", evil), *assistant(4, text(evil))
    )
    shown = sessions.do("show", str(path))
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert not [line for line in shown.splitlines() if line.startswith("2026-11-22 10:00:00")]


def test_a_text_is_found_in_mirrored_sessions_of_all_machines(sessions: Sessions) -> None:
    sessions.do("mirror", "--all")
    for name in ("claude", "codex", "hermes", "openclaw"):
        (sessions.home.folder / name).rename(sessions.home.folder / f"{name}-gone")

    hits = sessions.result("search", "ECHO FROM SUB")
    assert [(hit["run"], hit["name"], hit["where"]) for hit in hits] == [(f"claude-{CLAUDE}", "Bash", "input")]
    (hit,) = [hit for hit in sessions.result("search", "File does not exist") if hit["name"] == "Read"]
    assert hit["where"] == "error"  # its output says the same
    assert (hit["agent"], hit["status"]) == ("widgets-claude", "error")
    assert {hit["source"] for hit in sessions.result("search", "exit 3", "--source", "hermes")} == {"hermes"}
    assert "  > " in sessions.do("search", "look deeper")
    assert sessions.result("search", "100%_sure") == []


@pytest.mark.parametrize("where", ["mirrored", "--local"])
def test_what_was_done_or_said_once_is_found_once(sessions: Sessions, where: str) -> None:
    append(
        sessions.home.claude.parent / "s.jsonl",
        user(1, "please build it"),
        *assistant(2, text("I shall start"), tool("t", command="make everything")),
        answer(300, "t", "built in 3 s"),
        *assistant(4, tool("u", command="true")),
        answer(500, "u", ""),
        *assistant(6, text("it is done")),
    )
    options = ["--local"] if where == "--local" else []
    if not options:
        sessions.do("mirror", "claude-s")
    found = {
        words: [(hit["kind"], hit["where"]) for hit in sessions.result("search", words, "--run", "claude-s", *options)]
        for words in ("please build", "I shall start", "make everything", "built in", "it is done")
    }
    assert found == {
        "please build": [("message", "input")],
        "I shall start": [("llm", "output")],
        "make everything": [("tool_call", "input")],
        "built in": [("tool_call", "output")],
        "it is done": [("llm", "output")],
    }


def test_a_model_call_that_only_used_tools_is_no_entry_of_its_own(sessions: Sessions, tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    append(path, user(1, "go"), *assistant(2, tool("t", command="ls /srv")), answer(300, "t", "x"))
    append(path, *assistant(4, text("done")))
    heads = [line for line in sessions.do("show", str(path)).splitlines() if line.startswith("20")]
    assert [head[21:].split(" · ")[0].replace("widgets-claude", "me") for head in heads] == [
        *("user -> me", "me uses Bash", "me (claude-sonnet-4-5)"),
    ]
    assert "> ls /srv" in sessions.do("show", str(path), "--last", "2")
    assert [part["kind"] for part in sessions.result("show", str(path))] == ["message", "llm", "tool_call", "llm"]


def test_a_text_is_found_in_transcripts_here(sessions: Sessions) -> None:
    hits = sessions.result("search", "exit 3", "--local")
    assert {hit["source"] for hit in hits} == {"codex", "hermes", "openclaw"}
    assert {hit["where"] for hit in hits} == {"input"}
    (hit,) = sessions.result("search", "File does not exist", "--local")
    assert hit["where"] == "error"
    empty = sessions("session", "search", " ")
    assert (empty.returncode, "TEXT is empty" in empty.stderr) == (2, True)


def test_without_a_bus_what_is_here_is_listed_and_shown(coding_home: Home, project: str) -> None:
    line = Sessions("nats://127.0.0.1:9", project, coding_home)
    listed = line("session", "list", "--json")
    assert len(json.loads(listed.stdout)["result"]) == 5
    assert "only what is known here is shown" in listed.stderr
    assert "  > AGAIN" in line.do("show", CLAUDE)


def test_a_watch_follows_sessions_as_they_are_written(sessions: Sessions) -> None:
    folder = sessions.home.claude.parent
    live = folder / "live.jsonl"
    append(live, user(1, "go"))
    watch = sessions.popen("session", "watch", "--source", "claude", "--since", "1h", "--json")
    assert _next(watch) == ("claude-live", 1)
    append(live, *assistant(2, text("I look"), tool("t")), answer(300, "t", "ok"))
    assert _next(watch) == ("claude-live", 2)
    append(folder / "new.jsonl", user(1, "another"))
    assert _next(watch) == ("claude-new", 1)
    append(live, *assistant(4, text("done")))
    assert _next(watch) == ("claude-live", 1)

    watch.send_signal(signal.SIGINT)
    out, err = watch.communicate(timeout=30)
    assert (watch.returncode, "Traceback" in err, out) == (0, False, ""), err
    shown = sessions.result("show", "claude-live")
    assert [part["words"] for part in shown if part["kind"] == "message"] == ["go"]
    assert (
        json.loads(sessions("runs", "inspect", "claude-live", "--json").stdout)["result"]["row"]["status"] == "running"
    )


def test_a_watch_without_a_bus_says_so_once(coding_home: Home, project: str) -> None:
    line = Sessions("nats://127.0.0.1:9", project, coding_home)
    watch = line.popen("session", "watch", CLAUDE, CODEX)
    assert watch.stderr is not None
    said = [watch.stderr.readline(), watch.stderr.readline()]
    watch.send_signal(signal.SIGINT)
    _, rest = watch.communicate(timeout=60)
    assert said[0].startswith("watching into")
    assert said[1].startswith("tracecraft: no NATS server answers at nats://127.0.0.1:9")
    assert (watch.returncode, rest) == (0, "")


async def test_many_sessions_wait_for_a_bus_and_one_tells_of_it(
    coding_home: Home, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in coding_home.environment().items():
        monkeypatch.setenv(name, value)
    for module, name in ((watching, "LOOK_S"), (mirror, "AGAIN_S"), (mirror, "ACKNOWLEDGED_S")):
        monkeypatch.setattr(module, name, 0.1)
    told: list[str] = []
    looks: Counter[str] = Counter()
    again = asyncio.Event()
    advance = Mirror.advance

    async def counted(self: Mirror) -> Progress:
        looks[self.run] += 1
        if len(looks) == 5 and min(looks.values()) > 2:
            again.set()
        return await advance(self)

    monkeypatch.setattr(Mirror, "advance", counted)
    found = settings.load({"server": "nats://127.0.0.1:9", "project": project})
    watcher = asyncio.create_task(Watcher(found, finder.find, lambda _, progress: told.append(progress.waiting)).run())
    await asyncio.wait_for(again.wait(), 60)
    watcher.cancel()
    await asyncio.wait([watcher])
    assert [one[:22] for one in told] == ["no NATS server answers"]


def _next(watch: subprocess.Popen[str]) -> tuple[str, int]:
    """The next thing that the watch tells: whose run, how many steps; of one session that is written to."""
    assert watch.stdout is not None
    while True:
        line = watch.stdout.readline()
        assert line, watch.communicate()
        result = json.loads(line)["result"]
        if CLAUDE not in result["run"]:
            return result["run"], result["steps"]


def test_a_watch_of_nothing_is_refused(sessions: Sessions) -> None:
    assert sessions("session", "watch").returncode == 2
    assert sessions("session", "watch", "zzz").returncode == 1
