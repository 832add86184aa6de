"""The server is killed and paused under load: what was acknowledged is there, and everybody goes on by themselves."""

from __future__ import annotations

import collections
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from tests.fault.programs.handle import Program
from tracecraft import AsyncSession
from tracecraft_core import bodies, subjects
from tracecraft_core.pull import Puller, watcher_config

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tracecraft_stack.nats_server import NatsServer

WRITERS = ("writer0", "writer1")


class Load:
    """Writers, a reader of mail, a watcher of memory and somebody who waits for a task, each a process."""

    def __init__(self, nats: NatsServer, project: str, folder: Path) -> None:
        self._nats, self._project, self._folder = nats, project, folder
        self._stack = ExitStack()

    def __enter__(self) -> Load:
        self.reader = self._start("listener", "reader", "mail")
        self.watcher = self._start("listener", "watcher", "memory", "load.*")
        self.waiter = self._start("waiter", "waiter", "done", "T", 120)
        self.reader.hear("ready")
        self.watcher.hear("ready")
        self.waiter.hear("waiting")
        self.writers = [self._start("publisher", name, "reader", self._folder / name) for name in WRITERS]
        for writer in self.writers:
            writer.hear("ready")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self, program: str, agent: str, *args: object) -> Program:
        return self._stack.enter_context(Program(program, self._nats.url, self._project, agent, *args))

    def progress(self, more: int) -> None:
        """Wait until every writer has so many more acknowledgements."""
        goals = [(self._folder / name, self._lines(name) + 2 * more) for name in WRITERS]
        deadline = time.monotonic() + 40
        while any(self._lines(path.name) < goal for path, goal in goals):
            assert time.monotonic() < deadline, "the writers do not go on"
            time.sleep(0.02)

    def _lines(self, name: str) -> int:
        path = self._folder / name
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def finish(self) -> dict[str, int]:
        """Stop the writers; how much each has written."""
        for writer in self.writers:
            writer.say("stop")
        return {writer.agent: writer.hear("stopped", 60)["written"] for writer in self.writers}

    def acknowledged(self) -> list[list[str]]:
        """The journals: kind, sequence, content."""
        return [line.split() for name in WRITERS for line in (self._folder / name).read_text().splitlines()]


def test_nothing_acknowledged_is_missing_after_the_server_was_killed_again_and_again_under_load(
    own_nats: NatsServer, project: str, tmp_path: Path
) -> None:
    def kill() -> None:
        own_nats.kill()
        own_nats.start()

    _trouble_under_load(own_nats, project, tmp_path, [kill, kill, kill, kill])


def test_a_server_that_stands_still_for_seconds_loses_nothing_and_doubles_nothing(
    own_nats: NatsServer, project: str, tmp_path: Path
) -> None:
    def pause() -> None:
        own_nats.pause()
        time.sleep(4.5)
        own_nats.resume()

    _trouble_under_load(own_nats, project, tmp_path, [pause])


def _trouble_under_load(nats: NatsServer, project: str, folder: Path, troubles: list[Callable[[], None]]) -> None:
    with Load(nats, project, folder) as load:
        for trouble in troubles:
            load.progress(40)
            trouble()
        load.progress(40)
        written = load.finish()
        _check_log(nats, project, load.acknowledged(), written)
        _check_watcher(load.watcher, written)
        _check_reader(load.reader, written)
        with Program("holder", nats.url, project, "worker", "T", 30) as holder:
            holder.hear("claimed")
            holder.say("end")
            holder.hear("left")
        assert load.waiter.hear("woken", 10)["tasks"] == ["T"]


def _check_log(nats: NatsServer, project: str, acknowledged: list[list[str]], written: dict[str, int]) -> None:
    import asyncio

    log, bucket = asyncio.run(_stored(nats, project))
    for kind, number, content in acknowledged:
        found = log.get(int(number)) if kind == "message" else bucket.get(int(number))
        assert found == content, f"{kind} {content} was acknowledged as {number}, there is {found}"
    wanted = {f"{writer}-{number}" for writer, count in written.items() for number in range(1, count + 1)}
    texts = collections.Counter(log.values())
    assert set(texts) == wanted
    assert set(texts.values()) == {1}, "a message is in the log twice"
    assert len(acknowledged) == 2 * sum(written.values())


async def _stored(nats: NatsServer, project: str) -> tuple[dict[int, str], dict[int, str]]:
    """The messages in the log and the values in the bucket, by sequence."""
    async with AsyncSession(server=nats.url, project=project, agent="observer") as session:
        bus = session.context.bus
        stream, values = session.context.kv(subjects.MEMORY, "load.*")
        async with Puller(bus, subjects.LOG, watcher_config([f"tc.{project}.msg.reader.*"], "all")) as puller:
            log = {d.stored.seq: bodies.decode_message(d.stored.data).text async for d in puller.backlog()}
        async with Puller(bus, stream, watcher_config([values], "all")) as puller:
            return log, {d.stored.seq: d.stored.data.decode() async for d in puller.backlog()}


def _check_watcher(watcher: Program, written: dict[str, int]) -> None:
    """Every change of every key, in order, none twice."""
    heard: dict[str, list[Any]] = collections.defaultdict(list)
    while {key: len(values) for key, values in heard.items()} != written:
        entry = watcher.hear("entry", 20)
        heard[entry["key"].removeprefix("load.")].append(entry["value"])
    assert heard == {writer: list(range(1, count + 1)) for writer, count in written.items()}
    assert watcher.heard() == []


def _check_reader(reader: Program, written: dict[str, int]) -> None:
    """Every message, none twice: the server may forget an acknowledgement, its reader does not."""
    wanted = {f"{writer}-{number}" for writer, count in written.items() for number in range(1, count + 1)}
    heard: collections.Counter[str] = collections.Counter()
    while set(heard) != wanted:
        heard[reader.hear("message", 20)["text"]] += 1
    assert set(heard.values()) == {1}
    assert reader.heard() == []
