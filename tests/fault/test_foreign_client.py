"""A client in another language, with no code of ours: what the protocol promises is enough to take part."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tracecraft import AsyncSession, RevisionConflict
from tracecraft_core import subjects
from tracecraft_core.pull import Puller, watcher_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tracecraft_stack.nats_server import NatsServer

SOURCE = Path(__file__).parent / "foreign"
OFFLINE = ("ENOTFOUND", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "EAI_AGAIN", "ENETUNREACH")


@pytest.fixture(scope="session")
def package() -> Path:
    """A folder with the Node.js program and its packages, installed once for these versions."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not installed")
    wanted = hashlib.sha256((SOURCE / "package.json").read_bytes()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"tracecraft-foreign-{wanted}"
    if not (folder / "complete").exists():
        folder.mkdir(exist_ok=True)
        shutil.copy(SOURCE / "package.json", folder)
        install = subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--cache", folder / "cache"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if install.returncode and any(reason in install.stderr for reason in OFFLINE):
            pytest.skip("the npm registry cannot be reached")
        assert install.returncode == 0, install.stderr
        (folder / "complete").touch()
    shutil.copy(SOURCE / "client.mjs", folder)
    return folder


class Foreigner:
    """A running Node.js client."""

    def __init__(self, package: Path, nats: NatsServer, *args: object) -> None:
        self._argv = ["node", "client.mjs", f"nats://127.0.0.1:{nats.port}", str(nats.token), *map(str, args)]
        self._folder = package

    async def __aenter__(self) -> Foreigner:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *self._argv, cwd=self._folder, stdin=pipe, stdout=pipe, limit=2**20
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.communicate()

    async def hear(self) -> dict[str, Any]:
        """The next thing it says."""
        assert self._process.stdout is not None
        async with asyncio.timeout(20):
            line = await self._process.stdout.readline()
        assert line, "the foreign client ended"
        heard: dict[str, Any] = json.loads(line)
        return heard

    async def do(self, *command: object) -> dict[str, Any]:
        """Give it a command and hear what came of it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        return await self.hear()


@pytest.fixture
async def session(nats: NatsServer, project: str) -> AsyncIterator[AsyncSession]:
    async with AsyncSession(server=nats.url, project=project, agent="writer") as session:
        yield session


async def test_a_foreign_client_sends_messages_that_the_inbox_shows(
    package: Path, nats: NatsServer, project: str, session: AsyncSession
) -> None:
    subject = f"tc.{project}.msg.writer.nodejs"
    async with Foreigner(package, nats, "do") as node:
        body = json.dumps({"text": "hello", "kind": "question", "data": {"n": 1}, "unknown": "field"})
        first = await node.do("publish", subject, body)
        await node.do("publish", subject, "just text")
        await node.do("publish", f"tc.{project}.all.nodejs", json.dumps({"text": "to all"}))
    messages = await session.inbox()
    assert [(m.sender, m.to, m.text) for m in messages] == [
        ("nodejs", "writer", "hello"),
        ("nodejs", "writer", "just text"),
        ("nodejs", None, "to all"),
    ]
    assert (messages[0].id, messages[0].kind, messages[0].data) == (first["result"]["seq"], "question", {"n": 1})


async def test_a_foreign_client_reads_shared_memory_and_writes_it_with_compare_and_set(
    package: Path, nats: NatsServer, project: str, session: AsyncSession
) -> None:
    revision = await session.memory.set("findings", {"papers": 47})
    key = f"{project}.findings"
    async with Foreigner(package, nats, "do") as node:
        assert (await node.do("get", key))["result"] == {"value": {"papers": 47}, "revision": revision}
        swapped = (await node.do("update", key, {"papers": 48}, revision))["result"]["revision"]
        assert await session.memory.get("findings") == {"papers": 48}
        assert "wrong last sequence" in (await node.do("update", key, {"papers": 0}, revision))["refused"]
        with pytest.raises(RevisionConflict):
            await session.memory.set("findings", 0, if_revision=revision)
        await session.memory.set("findings", {"papers": 49}, if_revision=swapped)
        assert (await node.do("get", key))["result"]["value"] == {"papers": 49}
        await node.do("put", f"{project}.from.node", ["a", 1])
    assert await session.memory.get("from.node") == ["a", 1]
    assert [entry.value for entry in await session.memory.history("findings")] == [{"papers": n} for n in (47, 48, 49)]


async def test_a_foreign_client_that_follows_the_project_sees_all_of_it(
    package: Path, nats: NatsServer, project: str, session: AsyncSession
) -> None:
    count = 1 + 30 + 10 + 2 + 1  # joined, memory, messages, the task, the receipt
    async with Foreigner(package, nats, "follow", project, count) as node:
        assert (await node.hear())["event"] == "following"
        for number in range(10):
            await session.memory.set("key", number)
            await session.memory.incr("count")
            await session.memory.set(f"keys.{number}", number)
            await session.send("writer", f"message {number}")
        async with session.claim("T"):
            pass
        await session.ack((await session.inbox(limit=1))[0])
        heard = [await node.hear() for _ in range(count)]
    filters = watcher_config([f"tc.{project}.>"], "all")
    async with Puller(session.context.bus, subjects.LOG, filters) as puller:
        entries = [delivery.stored async for delivery in puller.backlog()]
    assert [(h["seq"], h["subject"], h["body"]) for h in heard] == [
        (e.seq, e.subject, e.data.decode()) for e in entries
    ]
    families = {entry.subject.split(".")[2] for entry in entries}
    assert families == {"agent", "memory", "msg", "task", "receipt"}
