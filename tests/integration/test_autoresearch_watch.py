"""``tracecraft autoresearch``: a git repository with a training script, an agent that keeps, discards and crashes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.cli import CommandLine
from tracecraft_cli.autoresearch import naming

if TYPE_CHECKING:
    from tracecraft_stack.nats_server import NatsServer

BRANCH = "autoresearch/mar5"
HEADER = "commit\tval_bpb\tmemory_gb\tstatus\tdescription\n"
TRAIN = """\
import sys, time
MATRIX_LR = 0.04
TOTAL_BATCH_SIZE = 2**16
DEPTH = 8
STEPS = 3
for step in range(STEPS):
    print(f"\\rstep {step:05d} ({step / STEPS:.1%}) | loss: {9 - step:.6f} | tok/sec: 1,000    ", end="", flush=True)
print()
if MATRIX_LR > 1:
    raise MemoryError("CUDA out of memory")
print("---")
print(f"val_bpb:          {1 - MATRIX_LR / 10:.6f}")
print("peak_vram_mb:     45060.2")
"""


@pytest.fixture
def cli(whole_cli: CommandLine) -> CommandLine:
    return whole_cli


class Researcher:
    """What the agent of autoresearch does, by hand."""

    def __init__(self, folder: Path, branch: str = BRANCH) -> None:
        self.folder, self.branch = folder, branch

    def begin(self) -> Researcher:
        """The repository with its first commit, the branch, and a table with only a header."""
        self.folder.mkdir()
        self.git("init", "--quiet", "--initial-branch=master")
        self.write("train.py", TRAIN)
        self.write(".gitignore", "run.log\nresults.tsv\n")
        self.git("add", ".")
        self.commit("Begin")
        self.git("checkout", "--quiet", "-b", self.branch)
        self.write("results.tsv", HEADER)
        return self

    def idea(self, lr: float, message: str) -> str:
        """Edit, commit; the commit's short id."""
        text = (self.folder / "train.py").read_text()
        self.write("train.py", re.sub(r"MATRIX_LR = \S+", f"MATRIX_LR = {lr}", text))
        self.commit(message)
        return self.head

    def train(self) -> float | None:
        """``uv run train.py > run.log 2>&1``; the value, or nothing after a crash."""
        with (self.folder / "run.log").open("wb") as log:
            subprocess.run([sys.executable, "train.py"], cwd=self.folder, stdout=log, stderr=log, check=False)
        found = re.search(r"^val_bpb: +(\S+)", (self.folder / "run.log").read_text(), re.MULTILINE)
        return float(found[1]) if found else None

    def record(self, commit: str, value: float | None, status: str, description: str, end: str = "\n") -> None:
        """Append a row."""
        memory = 44.0 if value is not None else 0.0
        with (self.folder / "results.tsv").open("a") as table:
            table.write(f"{commit}\t{value or 0:.6f}\t{memory}\t{status}\t{description}{end}")

    def back(self) -> None:
        """``git reset``: the idea was not kept."""
        self.git("reset", "--quiet", "--hard", "HEAD~1")

    def experiment(self, lr: float, status: str, description: str) -> str:
        """A whole experiment; the commit."""
        commit = self.idea(lr, description)
        self.record(commit, self.train(), status, description)
        if status != "keep":
            self.back()
        return commit

    def whole_day(self) -> list[str]:
        """Kept, discarded, crashed."""
        return [
            self.experiment(0.05, "keep", "raise the lr"),
            self.experiment(0.01, "discard", "lower the lr"),
            self.experiment(5.0, "crash", "far too high"),
        ]

    @property
    def head(self) -> str:
        return self.git("rev-parse", "--short=7", "HEAD")

    def commit(self, message: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        self.git(*who, "commit", "--quiet", "--all", "--allow-empty", "--message", message)

    def git(self, *words: str) -> str:
        done = subprocess.run(["git", *words], cwd=self.folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def run(self, commit: str, occurrence: int = 0) -> str:
        """The id that the run of a row has."""
        first = self.git("rev-list", "--max-parents=0", "HEAD")
        return naming.trial(first, self.branch, commit, occurrence)

    @property
    def experiment_run(self) -> str:
        return naming.experiment(self.git("rev-list", "--max-parents=0", "HEAD"), self.branch)


@pytest.fixture
def researcher(place: Path) -> Researcher:
    return Researcher(place / "gpu0").begin()


def said(done: subprocess.CompletedProcess[str], code: int = 0) -> str:
    assert done.returncode == code, done.stderr
    return done.stdout.strip()


def once(cli: CommandLine, *words: str) -> list[dict[str, Any]]:
    """``watch --once``: what it printed."""
    lines = said(cli("autoresearch", "watch", *words, "--once", "--json")).splitlines()
    return [json.loads(line)["result"] for line in lines]


def inspected(cli: CommandLine, run: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said(cli("runs", "inspect", run, "--json")))["result"]
    return found


def runs(cli: CommandLine) -> list[str]:
    return sorted(row["run"] for row in json.loads(said(cli("runs", "--limit", "100", "--json")))["result"])


def curve(cli: CommandLine, run: str, key: str) -> list[tuple[int, float]]:
    """Every point of a metric."""
    from tracecraft import Session

    with Session(server=cli.server, project=cli.project, agent="reader") as session:
        return [(step, value) for step, value, _, _ in session.runs.points(run, key)]


def test_rows_that_are_there_are_taken_in_with_their_changes_metrics_and_times(
    cli: CommandLine, researcher: Researcher
) -> None:
    kept, discarded, crashed = researcher.whole_day()
    told = once(cli, "gpu0")
    assert [(one["event"], one["run"]) for one in told] == [
        ("row", researcher.run(commit)) for commit in (kept, discarded, crashed)
    ]
    first = inspected(cli, researcher.run(kept))
    row = first["row"]
    assert (row["name"], row["status"], row["parent"]) == ("raise the lr", "finished", researcher.experiment_run)
    assert (row["params"]["MATRIX_LR"], row["params"]["TOTAL_BATCH_SIZE"]) == (0.05, 65536)
    assert row["params"]["changed"] == {"MATRIX_LR": [0.04, 0.05]}
    assert row["params"]["commit"].startswith(kept)
    assert (row["metrics"]["val_bpb"], row["metrics"]["memory_gb"]) == (0.995, 44.0)
    assert row["tags"].items() >= {"status": "keep", "branch": BRANCH, "commit": kept, "source": "autoresearch"}.items()
    committed = int(researcher.git("show", "-s", "--format=%ct", kept))
    assert row["started"].startswith(time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(committed)))
    (diff,) = first["artifacts"]
    assert diff["name"] == "train.diff"
    said(cli("artifact", "get", researcher.run(kept), "train.diff", "--output", "got.diff"))
    assert "+MATRIX_LR = 0.05" in Path("got.diff").read_text()
    second = inspected(cli, researcher.run(discarded))["row"]
    assert (second["status"], second["tags"]["status"]) == ("finished", "discard")
    third = inspected(cli, researcher.run(crashed))  # the log is still that of the last row
    assert third["row"]["status"] == "failed"
    assert third["error"] == {"type": "crash", "message": "MemoryError: CUDA out of memory"}
    assert "val_bpb" not in third["row"]["metrics"]
    assert {one["name"] for one in third["artifacts"]} == {"train.diff", "run.log"}
    assert [one["name"] for one in inspected(cli, researcher.run(discarded))["artifacts"]] == ["train.diff"]
    parent = inspected(cli, researcher.experiment_run)
    assert (parent["row"]["name"], parent["row"]["status"]) == (BRANCH, "finished")
    assert parent["row"]["tags"]["best_run"] == researcher.run(kept)
    assert parent["row"]["metrics"]["best_val_bpb"] == 0.995
    assert len(parent["children"]) == 3


def test_watching_again_writes_nothing_twice_even_without_its_memory(cli: CommandLine, researcher: Researcher) -> None:
    kept, *_ = researcher.whole_day()
    once(cli, "gpu0")
    before = runs(cli)
    assert once(cli, "gpu0") == []
    for path in Path("state").rglob("autoresearch/**/*.json"):
        path.unlink()
    assert len(once(cli, "gpu0")) == 3
    assert runs(cli) == before
    assert len(curve(cli, researcher.run(kept), "val_bpb")) == 1
    assert len(curve(cli, researcher.experiment_run, "val_bpb")) == 2
    verified = json.loads(said(cli("runs", "verify", researcher.run(kept), "--json")))["result"]
    assert verified["complete"]
    assert verified["unfinished"] == []


class Watching:
    """A watcher of its own, and what it has said so far."""

    def __init__(self, cli: CommandLine, *words: str) -> None:
        self.process = cli.popen("autoresearch", "watch", *words, "--interval", "0.05", "--json")
        self.lines: list[dict[str, Any]] = []

    def until(self, event: str, run: str) -> None:
        """Wait for a line."""
        assert self.process.stdout is not None
        while True:
            line = self.process.stdout.readline()
            assert line, self.process.stderr.read() if self.process.stderr else ""
            self.lines.append(json.loads(line)["result"])
            if (self.lines[-1]["event"], self.lines[-1]["run"]) == (event, run):
                return

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it; its exit code."""
        self.process.send_signal(number)
        self.process.communicate(timeout=30)
        return self.process.returncode


def poll(cli: CommandLine, run: str, wanted: Any, find: Any) -> None:
    """Wait until a run is as wanted: its points are told by nothing else."""
    deadline = time.monotonic() + 30
    while (found := find()) != wanted:
        assert time.monotonic() < deadline, found


class Training:
    """A training that goes on, step by step, as the test says."""

    def __init__(self, folder: Path) -> None:
        self.log = (folder / "run.log").open("w", newline="")

    def step(self, number: int) -> None:
        self.log.write(f"\rstep {number:05d} (1.0%) | loss: {9 - number}.0 | tok/sec: 1,000    ")
        self.log.flush()

    def end(self, text: str) -> None:
        self.log.write(f"\n{text}")
        self.log.close()


def test_a_watch_that_begins_before_the_table_says_what_the_agent_goes_by_once_there_is_one(
    cli: CommandLine, researcher: Researcher
) -> None:
    (researcher.folder / "results.tsv").unlink()
    watching = Watching(cli, "gpu0")
    poll(cli, researcher.experiment_run, [researcher.experiment_run], lambda: runs(cli))
    assert inspected(cli, researcher.experiment_run)["row"]["params"] == {"better": "lower"}
    researcher.write("results.tsv", "")
    researcher.write("results.tsv", HEADER.replace("val_bpb", "top1"))
    known = {"better": "lower", "metric": "top1"}
    poll(cli, "", known, lambda: inspected(cli, researcher.experiment_run)["row"]["params"])
    assert watching.stop() == 0
    assert inspected(cli, researcher.experiment_run)["row"]["status"] == "finished"


def test_an_experiment_that_goes_on_is_a_run_with_its_curve_and_gets_its_row_after_a_crash_of_the_watcher(
    cli: CommandLine, researcher: Researcher
) -> None:
    watching = Watching(cli, "gpu0")
    commit = researcher.idea(0.06, "raise it more")
    run = researcher.run(commit)
    training = Training(researcher.folder)
    for number in range(3):
        training.step(number)
    watching.until("running", run)
    poll(cli, run, [(0, 9.0), (1, 8.0)], lambda: curve(cli, run, "loss"))  # the third may still be being written
    going_on = inspected(cli, run)["row"]
    assert (going_on["status"], going_on["name"]) == ("running", "raise it more")
    watching.process.kill()
    watching.process.communicate()
    training.step(3)
    again = Watching(cli, "gpu0")
    poll(cli, run, [(0, 9.0), (1, 8.0), (2, 7.0)], lambda: curve(cli, run, "loss"))
    training.end("---\nval_bpb:          0.994000\npeak_vram_mb:     45060.2\n")
    researcher.record(commit, 0.994, "discard", "not worth it")
    researcher.back()
    again.until("row", run)
    poll(cli, run, 4, lambda: len(curve(cli, run, "loss")))
    assert again.stop() == 0
    row = inspected(cli, run)["row"]
    assert (row["status"], row["name"], row["tags"]["status"]) == ("finished", "not worth it", "discard")
    assert row["metrics"].items() >= {"val_bpb": 0.994, "peak_vram_mb": 45060.2, "loss": 6.0}.items()
    assert row["started"] == going_on["started"]
    assert runs(cli) == sorted([run, researcher.experiment_run])
    assert json.loads(said(cli("runs", "verify", run, "--json")))["result"]["complete"]


def test_an_experiment_without_a_row_is_killed_when_the_next_one_begins(
    cli: CommandLine, researcher: Researcher
) -> None:
    watching = Watching(cli, "gpu0")
    first = researcher.run(researcher.idea(0.06, "first"))
    Training(researcher.folder).end("step 1 | loss: 1.0\nstep 2 | loss: 0.5\n")
    watching.until("running", first)
    researcher.back()
    second = researcher.run(researcher.idea(0.07, "second"))
    Training(researcher.folder).end("step 1 | loss: 1\n")
    watching.until("abandoned", first)
    watching.until("running", second)
    assert watching.stop(signal.SIGINT) == 130
    found = inspected(cli, first)
    assert (found["row"]["status"], found["error"]["type"]) == ("killed", "no row")
    assert inspected(cli, second)["row"]["status"] == "running"


def test_a_row_that_is_changed_by_hand_changes_its_run_and_a_torn_one_waits(
    cli: CommandLine, researcher: Researcher
) -> None:
    kept = researcher.experiment(0.05, "keep", "raise the lr")
    watching = Watching(cli, "gpu0")
    watching.until("row", researcher.run(kept))
    table = researcher.folder / "results.tsv"
    table.write_text(table.read_text().replace("keep", "discard"))
    watching.until("changed", researcher.run(kept))
    row = inspected(cli, researcher.run(kept))["row"]
    assert (row["status"], row["tags"]["status"]) == ("finished", "discard")
    assert len(curve(cli, researcher.run(kept), "val_bpb")) == 1
    commit = researcher.idea(0.06, "more")
    researcher.record(commit, researcher.train(), "keep", "more", end="")  # an editor without a last line break
    watching.until("row", researcher.run(commit))
    assert watching.stop() == 0


def test_several_worktrees_are_watched_at_once_and_are_only_read(
    cli: CommandLine, researcher: Researcher, place: Path
) -> None:
    researcher.git("worktree", "add", "--quiet", "-b", "autoresearch/mar6", str(place / "gpu1"), "master")
    other = Researcher(place / "gpu1", "autoresearch/mar6")
    other.write("results.tsv", HEADER)
    index = researcher.folder / ".git" / "index"
    mine, theirs = researcher.experiment(0.05, "keep", "mine"), other.experiment(0.05, "keep", "theirs")
    (researcher.folder / "train.py").touch()  # a 'git status' would write the index anew
    before = (index.read_bytes(), index.stat().st_mtime_ns, researcher.git("reflog"))
    told = once(cli, "gpu0", "gpu1")
    assert {one["run"] for one in told} == {researcher.run(mine), other.run(theirs)}
    assert researcher.experiment_run != other.experiment_run
    assert (index.read_bytes(), index.stat().st_mtime_ns, researcher.git("reflog")) == before
    same = inspected(cli, researcher.run(mine))["row"]["params"]["patch_id"]
    found = json.loads(said(cli("runs", f'params.patch_id = "{same}"', "--json")))["result"]
    assert len(found) == 2


def test_rows_wait_in_their_file_while_the_bus_is_away(cli: CommandLine, researcher: Researcher) -> None:
    researcher.experiment(0.05, "keep", "raise the lr")
    away = cli("autoresearch", "watch", "gpu0", "--once", "--server", "nats://127.0.0.1:1")
    assert away.returncode == 69
    assert len(once(cli, "gpu0")) == 1


def test_a_row_that_comes_while_the_bus_is_down_is_written_when_it_is_back(
    own_nats: NatsServer, researcher: Researcher, project: str
) -> None:
    kept = researcher.experiment(0.05, "keep", "before")
    cli = CommandLine(own_nats.url, project)
    try:
        watching = Watching(cli, "gpu0")
        watching.until("row", researcher.run(kept))
        own_nats.kill()
        meanwhile = researcher.experiment(0.06, "discard", "meanwhile")
        own_nats.start()
        watching.until("row", researcher.run(meanwhile))
        assert watching.stop() == 0
    finally:
        cli.close()


@pytest.mark.parametrize(
    "words", [("nowhere",), ("plain",), ("gpu0", "--script", "../x.py"), ("gpu0", "--interval", "soon")]
)
def test_a_folder_that_is_none_is_wrong_usage(
    cli: CommandLine, researcher: Researcher, place: Path, words: tuple[str, ...]
) -> None:
    (place / "plain").mkdir()
    done = cli("autoresearch", "watch", *words, "--once", env={"GIT_CEILING_DIRECTORIES": str(place)})
    assert done.returncode == 2, done.stdout


def test_the_snippets_commands_work_as_they_stand_for_two_researchers(cli: CommandLine, researcher: Researcher) -> None:
    text = said(cli("autoresearch", "snippet"))
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 6
    commit = researcher.experiment(0.05, "keep", "raise the lr")
    first = in_shell(cli, researcher.folder, "".join(blocks), "ann")
    assert "no result yet" in first.stdout
    best = json.loads(said(cli("memory", "get", "autoresearch.best", "--json")))["result"]["value"]
    assert best == {"val_bpb": 0.995, "commit": commit, "branch": BRANCH, "idea": "lower-matrix-lr"}
    assert "idea.lower-matrix-lr" in first.stdout
    once(cli, "gpu0")
    second = in_shell(cli, researcher.folder, "".join(blocks[:4]), "bob")
    assert "taken: choose another idea" in second.stdout
    assert researcher.run(commit)[-8:] in second.stdout.partition("taken")[2]  # this very change was tried
    published = in_shell(cli, researcher.folder, "".join([blocks[0], blocks[4]]), "bob")
    assert "not the best so far" in published.stdout


def in_shell(cli: CommandLine, folder: Path, script: str, agent: str) -> subprocess.CompletedProcess[str]:
    """Run what the snippet shows, stopping at whatever fails."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=folder, env=cli.environment(agent, env={"PATH": path}),
        capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


# -- what a person is told -------------------------------------------------------------------------------------------


def test_a_watcher_says_what_it_watches_and_what_is_not_there_yet(cli: CommandLine, researcher: Researcher) -> None:
    (researcher.folder / "results.tsv").unlink()
    done = cli("autoresearch", "watch", "gpu0", "--once")
    assert said(done) == ""
    assert f"gpu0 (branch {BRANCH}, no results.tsv yet)" in done.stderr
    assert "nothing new" in done.stderr
    watching = cli.popen("autoresearch", "watch", "gpu0")
    assert watching.stderr is not None
    words = watching.stderr.readline()
    assert words == f"watching gpu0 (branch {BRANCH}, no results.tsv yet) into project {cli.project}; Ctrl-C ends it\n"
    watching.send_signal(signal.SIGTERM)
    assert watching.wait(30) == 0


def test_what_the_agent_wrote_is_printed_without_secrets_and_without_power_over_the_terminal(
    cli: CommandLine, researcher: Researcher
) -> None:
    secret = "ghp_" + "a1" * 18
    researcher.experiment(0.05, "keep", f"use {secret} \x1b[2Jred\u202e" + "x" * 2_000)
    printed = cli("autoresearch", "watch", "gpu0", "--once")
    line = next(line for line in said(printed).splitlines() if line.startswith("row"))
    assert r"use [redacted:github-token] \x1b[2Jred\u202exx" in line
    assert len(line) < 700
    assert secret not in printed.stdout + printed.stderr


def test_a_metric_that_the_table_does_not_have_is_refused_with_those_it_has(
    cli: CommandLine, researcher: Researcher
) -> None:
    refused = cli("autoresearch", "watch", "gpu0", "--once", "--metric", "nope")
    assert refused.returncode == 2
    assert "--metric nope: results.tsv of gpu0 has no such column, but val_bpb, memory_gb" in refused.stderr
    assert runs(cli) == []
    researcher.experiment(0.05, "keep", "raise the lr")
    assert len(once(cli, "gpu0", "--metric", "memory_gb")) == 1


def test_without_a_bus_a_watcher_waits_for_one(cli: CommandLine, researcher: Researcher) -> None:
    away = {"TRACECRAFT_SERVER": "nats://127.0.0.1:1"}
    assert cli("autoresearch", "watch", "gpu0", "--once", env=away).returncode == 69
    watching = cli.popen("autoresearch", "watch", "gpu0", env=away)
    assert watching.stderr is not None
    while "no NATS server answers" not in (line := watching.stderr.readline()):
        assert line, "it ended"
    assert "it is tried again" in line
    watching.send_signal(signal.SIGTERM)
    assert watching.wait(30) == 0
