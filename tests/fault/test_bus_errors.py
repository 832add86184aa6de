"""No server, no rights, no room, no sense: the right error, with its exit code, at once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import pytest

from tracecraft import AsyncSession, BusUnreachable
from tracecraft_core import subjects, topology
from tracecraft_core.bus import Bus
from tracecraft_core.errors import BodyTooLarge, LogFull, Malformed, NotPermitted, TracecraftError
from tracecraft_core.transport import ServerOptions
from tracecraft_stack.nats_server import NatsServer
from tracecraft_stack.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

AT_ONCE_S = 1.0


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < AT_ONCE_S


async def test_a_missing_server_is_told_at_once_with_what_to_do(project: str) -> None:
    url = f"nats://secret@127.0.0.1:{free_port()}"
    with at_once(), pytest.raises(BusUnreachable, match="tracecraft serve") as refused:
        await AsyncSession(server=url, project=project, agent="a").open()
    assert refused.value.exit_code == 69
    assert "secret" not in str(refused.value)


async def test_a_wrong_token_is_told_at_once(nats: NatsServer, project: str) -> None:
    url = f"nats://wrong@127.0.0.1:{nats.port}"
    with at_once(), pytest.raises(BusUnreachable, match=r"(?i)authorization violation") as refused:
        await AsyncSession(server=url, project=project, agent="a").open()
    assert "wrong" not in refused.value.servers


# -- rights ---------------------------------------------------------------------------------------------------------

USERS = """
authorization {
  users: [
    { user: admin, password: p }
    { user: alice, password: p, permissions: {
        publish: { allow: ["tc.*.*.*.alice", "tc.*.all.alice", "$KV.>", "$JS.API.>", "$JS.ACK.>"] }
    } }
    { user: blind, password: p, permissions: { publish: { deny: ["$JS.API.>"] } } }
    { user: deaf, password: p, permissions: { subscribe: { deny: ["_INBOX.>"] } } }
    { user: reader, password: p, permissions: { publish: { deny: ["$KV.>", "tc.>"] } } }
    { user: unfetching, password: p, permissions: { publish: { deny: ["$JS.API.CONSUMER.MSG.NEXT.>"] } } }
  ]
}
"""


@pytest.fixture
async def guarded(server_folder: Path) -> AsyncIterator[NatsServer]:
    """A server with users of different rights, and the streams in place."""
    with NatsServer(server_folder / "guarded", extra_config=USERS) as server:
        async with Bus(options(server, "admin")) as bus:
            await topology.ensure(bus)
        yield server


def options(server: NatsServer, user: str) -> ServerOptions:
    return ServerOptions(servers=(server.url,), user=user, password="p")


def session_of(server: NatsServer, user: str, project: str = "p") -> AsyncSession:
    url = f"nats://{user}:p@127.0.0.1:{server.port}"
    return AsyncSession(server=url, project=project, agent=user, mode="oneshot")


async def test_a_user_cannot_send_in_the_name_of_another_agent(guarded: NatsServer) -> None:
    async with session_of(guarded, "alice") as alice, session_of(guarded, "admin") as admin:
        await admin.inbox()
        await alice.send("admin", "it is me")
        with at_once(), pytest.raises(NotPermitted, match=r"tc\.p\.msg\.admin\.bob") as refused:
            await alice.context.bus.publish(subjects.message("p", "admin", "bob"), b'{"text": "I am bob"}')
        assert (refused.value.exit_code, refused.value.subject) == (1, "tc.p.msg.admin.bob")
        with at_once(), pytest.raises(NotPermitted):
            await alice.context.bus.publish(subjects.broadcast("p", "bob"), b'{"text": "I am bob"}')
        assert [(m.sender, m.text) for m in await admin.inbox()] == [("alice", "it is me")]


async def _watch(session: AsyncSession) -> object:
    return await anext(aiter(session.memory.watch(">")))


async def _claim(session: AsyncSession) -> None:
    async with session.claim("T"):
        raise AssertionError("claimed without the right to")


async def _claim_next(session: AsyncSession) -> None:
    async with session.claim_next():
        raise AssertionError("claimed without the right to")


VERBS: dict[str, Callable[[AsyncSession], Awaitable[object]]] = {
    "get": lambda session: session.memory.get("key"),
    "set": lambda session: session.memory.set("key", 1),
    "compare and set": lambda session: session.memory.set("key", 1, if_revision=0),
    "list": lambda session: session.memory.list(),
    "history": lambda session: session.memory.history("key"),
    "watch": _watch,
    "claim": _claim,
    "claim next": _claim_next,
    "wait": lambda session: session.wait_for("T"),
    "send": lambda session: session.send("somebody", "hello"),
    "broadcast": lambda session: session.broadcast("hello"),
    "inbox": lambda session: session.inbox(),
    "messages": lambda session: anext(session.messages()),
    "wait for mail": lambda session: session.wait_for(or_message=True),
    "agents": lambda session: session.agents(),
}
WITHOUT = {
    "blind": {"set", "compare and set", "broadcast"},  # these ask for nothing but to store
    "deaf": set(),
    "reader": set(VERBS) - {"set", "compare and set", "claim", "send", "broadcast"},
    "unfetching": set(VERBS) - {"history", "watch", "claim next", "wait", "inbox", "messages", "wait for mail"},
}


@pytest.mark.parametrize("user", WITHOUT)
async def test_every_verb_that_lacks_a_right_says_so_at_once(guarded: NatsServer, user: str) -> None:
    async with session_of(guarded, "admin") as admin:
        await admin.memory.set("key", 0)
        await admin.tasks.add("T")
        await admin.send(user, "an empty inbox would not be fetched")
    async with session_of(guarded, user) as session:
        for name in VERBS.keys() - WITHOUT[user]:
            with at_once(), pytest.raises(NotPermitted) as refused:
                async with asyncio.timeout(10):
                    await VERBS[name](session)
            assert "ask whoever runs the server" in str(refused.value), name


async def test_without_the_right_to_create_streams_a_fresh_server_is_told_at_once(server_folder: Path) -> None:
    with NatsServer(server_folder / "fresh", extra_config=USERS) as server:
        async with session_of(server, "blind") as session:
            with at_once(), pytest.raises(NotPermitted, match=r"JS\.API"):
                await session.memory.set("key", 1)


# -- room -----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def narrow(own_nats: NatsServer, project: str) -> AsyncIterator[AsyncSession]:
    """An agent on a server whose streams take 64 KiB each; the admin chose so, and drift tells it."""
    async with Bus(ServerOptions(servers=(own_nats.url,))) as bus:
        for definition in topology.definitions():
            await bus.api(f"STREAM.CREATE.{definition['name']}", definition | {"max_bytes": 65536})
        drifted = {str(drift) for drift in await topology.check(bus)}
        assert any("TC_LOG: metadata tc.epoch" in text for text in drifted)
    async with AsyncSession(server=own_nats.url, project=project, agent="a") as session:
        yield session


async def test_a_full_log_is_told_at_once_and_nothing_is_written(narrow: AsyncSession) -> None:
    written: list[int] = []
    with pytest.raises(LogFull, match="TC_LOG is full") as full:
        await _fill(lambda number: narrow.send("b", "x" * 8192), written)
    assert 5 <= len(written) <= 8
    assert full.value.exit_code == 1
    for verb in (narrow.send("b", "x" * 8192), narrow.broadcast("x" * 8192)):
        with at_once(), pytest.raises(LogFull):
            await verb
    assert len(await narrow.mail.sent()) == len(written)


async def _fill(write: Callable[[int], Awaitable[object]], written: list[int]) -> None:
    for number in range(100):
        await write(number)
        written.append(number)


async def test_a_full_bucket_is_told_at_once_and_names_itself(narrow: AsyncSession) -> None:
    with pytest.raises(LogFull, match="KV_tc_memory is full"):
        await _fill(lambda number: narrow.memory.set(f"key{number}", "x" * 8192), [])
    with at_once(), pytest.raises(LogFull):
        await narrow.memory.set("key0", "x" * 8192, if_revision=1)
    async with narrow.claim("T"):  # the tasks have room of their own
        pass


async def test_a_server_without_room_is_told_at_once(server_folder: Path, project: str) -> None:
    with NatsServer(server_folder / "small", jetstream="max_file_store: 256KB") as server:
        async with AsyncSession(server=server.url, project=project, agent="a") as session:
            with pytest.raises(LogFull) as full:
                await _fill(lambda number: session.memory.set(f"key{number}", "x" * 8192), [])
            with at_once(), pytest.raises(LogFull):
                await session.memory.set("key", "x" * 8192)
    assert full.value.stream in ("KV_tc_memory", "TC_LOG")


async def test_a_value_over_the_limit_is_refused_before_it_is_sent(nats: NatsServer, project: str) -> None:
    async with AsyncSession(server=nats.url, project=project, agent="a") as session:
        largest = "x" * (subjects.MAX_BODY_BYTES - 2)
        await session.memory.set("key", largest)
        assert await session.memory.get("key") == largest
        for verb in (
            session.memory.set("key", largest + "x"),
            session.memory.set("key", largest + "x", if_absent=True),
            session.send("b", largest),
            session.broadcast(largest),
        ):
            with at_once(), pytest.raises(BodyTooLarge, match="262,144") as refused:
                await verb
            assert refused.value.exit_code == 2


# -- sense ----------------------------------------------------------------------------------------------------------


async def test_a_task_record_that_cannot_be_understood_stops_who_wants_it_and_nobody_else(
    nats: NatsServer, project: str
) -> None:
    async with AsyncSession(server=nats.url, project=project, agent="a") as session:
        await session.context.bus.publish(subjects.kv_subject(subjects.TASKS, project, "broken"), b'{"state": 7}')
        await session.tasks.add("sound")
        attempts: list[Callable[[], Awaitable[object]]] = [
            lambda: _enter(session, "broken"),
            lambda: session.wait_for("broken"),
            lambda: session.wait_for("sound", "broken"),
            lambda: session.tasks.show("broken"),
            lambda: session.tasks.add("broken"),
        ]
        for attempt in attempts:
            with at_once(), pytest.raises(Malformed, match="broken") as refused:
                await attempt()
            assert refused.value.exit_code == 1
        assert [task.id for task in await session.tasks.list()] == ["sound"]
        async with session.claim_next() as claim:
            assert claim.task == "sound"


async def _enter(session: AsyncSession, task: str) -> None:
    async with session.claim(task):
        raise AssertionError("claimed what cannot be understood")


async def test_a_lease_that_cannot_be_understood_counts_as_held(nats: NatsServer, project: str) -> None:
    async with AsyncSession(server=nats.url, project=project, agent="a") as session:
        await session.context.bus.publish(subjects.kv_subject(subjects.LEASES, project, "T"), b"?", ttl=2)
        with at_once(), pytest.raises(TracecraftError, match="held by an unknown writer") as refused:
            await _enter(session, "T")
        assert refused.value.exit_code == 3
        async with session.claim("T", wait=10):
            pass  # it lapsed like any other


async def test_bytes_that_are_not_json_are_read_as_text(nats: NatsServer, project: str) -> None:
    async with AsyncSession(server=nats.url, project=project, agent="a") as session:
        await session.context.bus.publish(subjects.kv_subject(subjects.MEMORY, project, "key"), b"\xff plain")
        assert await session.memory.get("key") == "\ufffd plain"
