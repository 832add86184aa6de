"""Relays and clients that are killed or paused, folders without room, and records that mean harm."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.support.cli import CommandLine
from tests.support.recording import logged
from tests.support.sandbox import AGENT, Sandbox
from tracecraft.recording import spool
from tracecraft.recording.intent import Intent
from tracecraft.recording.journal import Journal
from tracecraft.recording.position import Position
from tracecraft_cli.relay import papers
from tracecraft_cli.relay.ledger import Entry, Ledger, home
from tracecraft_core import ids

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tracecraft_stack.nats_server import NatsServer


def queued(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 75, (done.returncode, done.stderr)
    return done.stderr.split()[3].rstrip(",")


@pytest.fixture
def own_outside(own_nats: NatsServer, project: str) -> Iterator[CommandLine]:
    runner = CommandLine(own_nats.url, project)
    yield runner
    runner.close()


@pytest.fixture
def own_sandbox(sandbox: Sandbox, own_outside: CommandLine) -> Sandbox:
    """A sandbox whose bus can be paused."""
    sandbox.outside = own_outside
    return sandbox


# -- killed and paused -----------------------------------------------------------------------------------------------


def test_a_write_under_which_the_relay_is_killed_is_unknown_and_not_done_again(
    own_sandbox: Sandbox, own_nats: NatsServer
) -> None:
    sandbox = own_sandbox
    relay = sandbox.relay()
    assert sandbox("memory", "incr", "n").returncode == 0
    own_nats.pause()
    client = sandbox.popen("memory", "incr", "n")
    sandbox.until(lambda: [one for one in sandbox.status().values() if one["state"] == "running"])
    [(id_, _)] = sandbox.status().items()
    entered = home(sandbox.workspace) / "ledger.jsonl"
    sandbox.until(lambda: id_ in entered.read_text("utf-8"))
    relay.kill()
    _, stderr = client.communicate(timeout=60)
    assert (client.returncode, "may or may not have been done" in stderr) == (69, True), stderr
    own_nats.resume()
    sandbox.relay()
    answer = sandbox.answer(id_)
    assert (answer.state, answer.exit_code) == ("unknown", 69)
    assert sandbox.status()[id_]["message"].startswith("the relay was killed while it ran this")
    assert sandbox("memory", "incr", "m").returncode == 0, "it goes on"
    assert sandbox.value("n") in (1, 2)
    begun = [line for line in entered.read_text("utf-8").splitlines() if id_ in line and '"running"' in line]
    assert len(begun) == 1


def test_what_a_killed_relay_had_done_and_not_answered_is_answered_and_not_done_again(sandbox: Sandbox) -> None:
    id_ = queued(sandbox("memory", "incr", "n"))
    (sandbox.folder / papers.TAKEN).mkdir()
    (sandbox.folder / papers.REQUESTS / id_).rename(sandbox.folder / papers.TAKEN / id_)
    with contextlib.closing(Ledger.open(sandbox.workspace)) as ledger:
        ledger.enter(Entry(id=id_, state="running", command="memory incr", agent=AGENT, time=1.0))
        ledger.enter(Entry(id=id_, state="acked", command="memory incr", agent=AGENT, time=2.0))
    sandbox.relay().stop()
    answer = sandbox.answer(id_)
    assert (answer.state, answer.exit_code) == ("acked", 0)
    assert sandbox.value("n") is None, "it was not done a second time"
    assert not sandbox.taken()


def test_what_a_killed_relay_had_taken_and_not_begun_is_done_once(sandbox: Sandbox) -> None:
    ids = [queued(sandbox("memory", "set", "k", str(number))) for number in range(2)]
    (sandbox.folder / papers.TAKEN).mkdir()
    (sandbox.folder / papers.REQUESTS / ids[0]).rename(sandbox.folder / papers.TAKEN / ids[0])
    sandbox.relay()
    assert [sandbox.answer(id_).state for id_ in ids] == ["acked"] * 2
    assert sandbox.value("k") == 1, "in their order"


def test_a_request_that_comes_again_is_not_done_again(sandbox: Sandbox) -> None:
    sandbox.relay()
    fields = {"command": ["memory", "incr"], "arguments": ["n"]}
    id_ = sandbox.forge(**fields)
    assert sandbox.answer(id_).state == "acked"
    sandbox.forge(id=id_, **fields)
    sandbox.until(lambda: not sandbox.waiting() and not sandbox.taken())
    sandbox.relays.pop().stop()
    sandbox.forge(id=id_, **fields)
    sandbox.relay()
    sandbox.until(lambda: not sandbox.waiting() and not sandbox.taken())
    assert sandbox.value("n") == 1


@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_when_the_client_dies_what_it_waits_for_is_ended_outside(sandbox: Sandbox, how: str) -> None:
    sandbox.relay()
    client = sandbox.popen("wait-for", "T")
    sandbox.until(lambda: [one for one in sandbox.status().values() if one["state"] == "running"])
    [id_] = sandbox.status()
    getattr(client, how)()
    answer = sandbox.answer(id_)
    assert (answer.state, (answer.message or "").partition(":")[0]) == ("cancelled", "its client has gone")


def test_a_client_that_was_killed_before_the_relay_came_is_not_served(sandbox: Sandbox) -> None:
    relay = sandbox.relay()
    relay.pause()
    client = sandbox.popen("memory", "incr", "n")
    sandbox.until(lambda: [name for name in sandbox.waiting() if name[0] != "."])  # it appears whole, by a rename
    client.kill()
    client.wait()
    [id_] = sandbox.waiting()
    relay.resume()
    assert sandbox.answer(id_).state == "cancelled"
    assert sandbox.value("n") is None


def test_a_paused_relay_is_given_up_and_a_write_is_queued_and_done_once_later(sandbox: Sandbox) -> None:
    relay = sandbox.relay()
    relay.pause()
    id_ = queued(sandbox("memory", "incr", "n"))
    assert sandbox.status()[id_]["state"] == "queued"
    relay.resume()
    assert sandbox.answer(id_).exit_code == 0
    assert sandbox.value("n") == 1


def test_what_needs_an_answer_is_taken_back_from_a_paused_relay(sandbox: Sandbox) -> None:
    relay = sandbox.relay()
    relay.pause()
    done = sandbox("claim", "T")
    assert (done.returncode, "no relay runs" in done.stderr) == (69, True)
    relay.resume()
    assert sandbox("memory", "set", "k", "1").returncode == 0
    assert sandbox.outside("claim", "T", agent="w1").returncode == 0, "nobody has claimed it"


def test_a_relay_that_is_stopped_ends_what_it_runs_and_leaves_what_it_has_not_begun(sandbox: Sandbox) -> None:
    relay = sandbox.relay()
    client = sandbox.popen("wait-for", "T")
    sandbox.until(lambda: [one for one in sandbox.status().values() if one["state"] == "running"])
    relay.stop()
    _, stderr = client.communicate(timeout=30)
    assert (client.returncode, "the relay was stopped" in stderr) == (69, True), stderr
    assert queued(sandbox("send", "w", "x"))


def test_when_the_bus_is_away_a_queued_write_says_so_in_its_receipt(own_sandbox: Sandbox, own_nats: NatsServer) -> None:
    id_ = queued(own_sandbox("memory", "set", "k", "1"))
    own_nats.stop()
    own_sandbox.relay()
    answer = own_sandbox.answer(id_)
    assert (answer.state, answer.exit_code) == ("acked", 69)
    assert "no NATS server answers" in own_sandbox.status()[id_]["stderr"]


# -- no room ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_workspace(sandbox: Sandbox) -> Iterator[Sandbox]:
    """A sandbox whose workspace has room for next to nothing; skips when we may not mount one."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(sandbox.workspace)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root can mount a small disk")
    try:
        (sandbox.workspace / ".git").mkdir()
        yield sandbox
    finally:
        sandbox.close()
        subprocess.run(["umount", "-l", str(sandbox.workspace)], check=True)


def test_a_full_workspace_is_told_and_nothing_is_left_half(small_workspace: Sandbox) -> None:
    sandbox = small_workspace
    done = sandbox("memory", "set", "k", "-", input="x" * 200_000)
    assert done.returncode == 69
    assert "takes no request (No space left on device): nothing was done" in done.stderr
    assert sandbox.waiting() == []
    assert sandbox("memory", "set", "k", "1").returncode == 75, "there is room for a small one"


def test_output_for_which_the_workspace_has_no_room_is_cut_and_said_to_be(small_workspace: Sandbox) -> None:
    sandbox = small_workspace
    sandbox.outside("memory", "set", "k", "-", input="x" * 200_000)
    sandbox.relay()
    done = sandbox("memory", "get", "k")
    assert "the relay has cut the output" in done.stderr
    assert 0 < len(done.stdout) < 200_000


@pytest.fixture
def small_home(sandbox: Sandbox) -> Iterator[Path]:
    """What a relay remembers, on a small disk; skips when we may not mount one."""
    place = home(sandbox.workspace)
    place.mkdir(mode=0o700, parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m,mode=700", "tmpfs", str(place)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root can mount a small disk")
    try:
        yield place
    finally:
        sandbox.close()
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(folder: Path) -> Path:
    """A file that leaves no room beside it."""
    path = folder / "fill"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    assert shutil.disk_usage(folder).free == 0
    return path


def test_a_receipt_that_found_no_room_is_given_when_there_is_some(small_workspace: Sandbox) -> None:
    sandbox = small_workspace
    relay = sandbox.relay()
    relay.pause()
    ids = [sandbox.forge(command=["memory", "incr"], arguments=["n"]) for _ in range(2)]
    full = fill(sandbox.workspace)
    relay.resume()
    sandbox.until(lambda: [one["state"] for one in sandbox.status().values()] == ["owed"] * 2)
    assert sandbox.value("n") == 2
    full.unlink()
    answers = [sandbox.answer(id_) for id_ in ids]
    assert [(one.state, one.exit_code, one.truncated) for one in answers] == [("acked", 0, False)] * 2
    assert [sandbox.status()[id_]["stdout"] for id_ in ids] == ["1\n", "2\n"]
    assert (sandbox.value("n"), sandbox.taken()) == (2, [])


def test_a_receipt_whose_output_was_removed_meanwhile_is_given_all_the_same(small_workspace: Sandbox) -> None:
    sandbox = small_workspace
    relay = sandbox.relay()
    relay.pause()
    id_ = sandbox.forge(command=["memory", "incr"], arguments=["n"])
    full = fill(sandbox.workspace)
    relay.resume()
    sandbox.until(lambda: sandbox.status()[id_]["state"] == "owed")
    (sandbox.folder / papers.ANSWERS / f"{id_}{papers.OUT}").unlink()
    full.unlink()
    answer = sandbox.answer(id_)
    assert (answer.state, answer.exit_code, answer.truncated) == ("acked", 0, True)


def test_a_receipt_that_a_killed_relay_still_owed_is_given_by_the_next_one(small_workspace: Sandbox) -> None:
    sandbox = small_workspace
    relay = sandbox.relay()
    relay.pause()
    id_ = sandbox.forge(command=["memory", "incr"], arguments=["n"])
    full = fill(sandbox.workspace)
    relay.resume()
    sandbox.until(lambda: sandbox.status()[id_]["state"] == "owed")
    relay.kill()
    full.unlink()
    sandbox.relay()
    answer = sandbox.answer(id_)
    assert (answer.state, answer.exit_code, sandbox.value("n")) == ("acked", 0, 1)


def test_who_waits_is_not_left_waiting_for_a_receipt_that_has_no_room(small_workspace: Sandbox) -> None:
    sandbox = small_workspace
    relay = sandbox.relay()
    client = sandbox.popen("wait-for", "T")
    sandbox.until(lambda: [one for one in sandbox.status().values() if one["state"] == "running"])
    [id_] = sandbox.status()
    full = fill(sandbox.workspace)
    sandbox.outside("task", "add", "T")
    sandbox.outside("claim", "T")
    sandbox.outside("complete", "T")
    _, stderr = client.communicate(timeout=60)
    assert (client.returncode, "has the receipt" in stderr) == (69, True), stderr
    full.unlink()
    assert sandbox.answer(id_).exit_code == 0
    relay.stop()


@pytest.mark.parametrize("once", [True, False], ids=["once", "on-and-on"])
def test_what_a_relay_cannot_remember_it_does_not_begin(sandbox: Sandbox, small_home: Path, once: bool) -> None:
    ids = [queued(sandbox("memory", "set", "k", str(number))) for number in range(2)]
    Ledger.open(sandbox.workspace).close()
    (small_home / "ledger.jsonl").write_bytes(b"\n" * 4096)  # another entry needs another page of the disk
    full = fill(small_home)
    if once:
        done = sandbox.outside("relay", str(sandbox.workspace), "--once")
        assert (done.returncode, "no room" in done.stderr) == (0, True), done.stderr
        assert sandbox.waiting() == ids
    else:
        sandbox.relay()
        sandbox.until(lambda: sandbox.taken() == ids)
    assert sandbox.value("k") is None
    full.unlink()
    if once:
        sandbox.relay()
    assert [sandbox.answer(id_).state for id_ in ids] == ["acked"] * 2
    assert sandbox.value("k") == 1, "in their order"


def test_a_folder_that_cannot_be_one_is_told(sandbox: Sandbox) -> None:
    sandbox.folder.parent.mkdir()
    sandbox.folder.write_text("no folder", encoding="utf-8")
    done = sandbox("memory", "set", "k", "1")
    assert (done.returncode, "takes no request" in done.stderr) == (69, True)
    refused = sandbox.outside("relay", str(sandbox.workspace))
    assert (refused.returncode, "cannot have a relay" in refused.stderr) == (2, True)


# -- records that mean harm ------------------------------------------------------------------------------------------


class Forged:
    """A writer's folder in the workspace, as if a process had left it."""

    def __init__(self, sandbox: Sandbox, **owner: str) -> None:
        self.sandbox = sandbox
        given = {"project": sandbox.outside.project, "run": "r1", "writer": ids.fresh(), "agent": AGENT, "server": "x"}
        self._held = spool.create(msgspec.convert(given | owner, spool.Owner), sandbox.folder / "spool")
        self.path = self._held.path
        self._journal = Journal(self.path, Position.open(self.path))

    def record(self, agent: str = AGENT, event: str = "log") -> None:
        self._journal.event(agent, event, json.dumps({"text": "1", "time": 1}).encode())

    def upload(self, path: Path, id_: str = "u1") -> None:
        (self.path / spool.UPLOADS).mkdir(exist_ok=True)
        intent = json.dumps({"id": id_, "path": str(path), "name": "stolen", "agent": AGENT})
        (self.path / spool.UPLOADS / f"{id_}.json").write_text(intent, encoding="utf-8")

    def release(self) -> None:
        """The process is gone."""
        self._journal.close()
        self._held.release()

    def left(self) -> str:
        """The process is gone; what a relay says of it."""
        self.release()
        done = self.sandbox.outside("relay", str(self.sandbox.workspace), "--once")
        assert done.returncode == 0, done.stderr
        return done.stderr


async def test_what_is_recorded_honestly_is_delivered(sandbox: Sandbox, nats: NatsServer) -> None:
    forged = Forged(sandbox)
    forged.record()
    assert "1 events and 0 files of run r1 delivered" in forged.left()
    assert len(await logged(nats.url, sandbox.outside.project)) == 1


async def test_what_is_recorded_waits_until_the_relay_has_room_for_it(
    sandbox: Sandbox, small_home: Path, nats: NatsServer
) -> None:
    relay = sandbox.relay()
    full = fill(small_home)
    forged = Forged(sandbox)
    for _ in range(2_000):
        forged.record()
    forged.release()
    assert relay.process.stderr is not None
    while "waits until there is room" not in (line := relay.process.stderr.readline()):
        assert line, "the relay has ended"
    full.unlink()
    sandbox.until(lambda: not forged.path.exists())
    assert "2000 events and 0 files of run r1 delivered" in relay.stop()
    assert len(await logged(nats.url, sandbox.outside.project)) == 2_000


@pytest.mark.parametrize(
    ("agent", "event", "owner"),
    [
        ("_tracecraft", "crashed", {}),
        ("a.b", "log", {}),
        (AGENT, "no-such", {}),
        (AGENT, "log", {"project": "foreign"}),
        (AGENT, "log", {"agent": "*"}),
    ],
    ids=["the bridge", "a subject", "an event", "a project", "an owner"],
)
async def test_a_journal_that_speaks_for_others_is_not_delivered(
    sandbox: Sandbox, nats: NatsServer, agent: str, event: str, owner: dict[str, str]
) -> None:
    forged = Forged(sandbox, **owner)
    forged.record(agent, event)
    assert "has recorded of run r1 is not delivered" in forged.left()
    assert not await logged(nats.url, sandbox.outside.project)
    assert not await logged(nats.url, "foreign")


async def test_a_file_outside_of_the_workspace_is_not_uploaded(
    sandbox: Sandbox, nats: NatsServer, secret: Path
) -> None:
    forged = Forged(sandbox)
    forged.record()
    forged.upload(secret)
    (sandbox.workspace / "link").symlink_to(secret)
    forged.upload(sandbox.workspace / "link", "u2")
    forged.upload(sandbox.workspace / "sub/../../secret.yaml", "u3")
    said = forged.left()
    assert said.count("the file stolen is not delivered") == 3
    assert len(await logged(nats.url, sandbox.outside.project)) == 1


@pytest.mark.parametrize("name", ["position", "lock", "uploads", "owner.json"])
def test_a_link_among_the_records_leads_nowhere(sandbox: Sandbox, nats: NatsServer, secret: Path, name: str) -> None:
    forged = Forged(sandbox)
    forged.record()
    said = secret.read_bytes()
    path = forged.path / name
    path.unlink(missing_ok=True)
    path.symlink_to(secret.parent if name == "uploads" else secret)
    assert "is not delivered" in forged.left()
    assert secret.read_bytes() == said
    assert not asyncio.run(logged(nats.url, sandbox.outside.project))


def test_an_intent_can_be_read(tmp_path: Path) -> None:
    """The forged ones have the form of ours: else they would be refused for another reason."""
    raw = json.dumps({"id": "u1", "path": "/x", "name": "stolen", "agent": AGENT}).encode()
    assert msgspec.json.decode(raw, type=Intent).path == "/x"
