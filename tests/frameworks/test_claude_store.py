"""The session store: the SDK's own conformance suite, and what it does not ask."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("claude_agent_sdk")

from claude_agent_sdk.testing import run_session_store_conformance

from tracecraft import Session
from tracecraft.integrations.claude_agent_sdk import TracecraftSessionStore
from tracecraft_core.errors import BusUnreachable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEY: Any = {"project_key": "-home-me-repo", "session_id": "5f0c.1 x"}

WRITER = """
import asyncio, sys
from tracecraft.integrations.claude_agent_sdk import TracecraftSessionStore

async def main():
    store = TracecraftSessionStore()
    for number in range(40):
        entry = {"type": "user", "uuid": f"{sys.argv[1]}-{number}", "message": {"content": "x" * 500}}
        await store.append({"project_key": "shared", "session_id": "s"}, [entry])
    await store.close()

asyncio.run(main())
"""


@pytest.fixture
async def store() -> AsyncIterator[TracecraftSessionStore]:
    opened = TracecraftSessionStore()
    yield opened
    await opened.close()


def entry(uuid: str, **more: Any) -> Any:
    return {"type": "user", "uuid": uuid, **more}


async def test_the_sdk_s_conformance_suite_passes(project: str) -> None:
    stores: list[TracecraftSessionStore] = []

    def fresh() -> TracecraftSessionStore:
        session = Session(project=f"{project}-{len(stores)}")
        stores.append(TracecraftSessionStore(session))
        return stores[-1]

    await run_session_store_conformance(fresh)
    for one in stores:
        await one.close()


async def test_a_repeated_batch_counts_once(store: TracecraftSessionStore) -> None:
    for _ in range(2):
        await store.append(KEY, [entry("a"), entry("b")])
    await store.append(KEY, [entry("b"), entry("c")])
    assert await store.load(KEY) == [entry("a"), entry("b"), entry("c")]


async def test_entries_without_an_id_may_be_equal(store: TracecraftSessionStore) -> None:
    for _ in range(2):
        await store.append(KEY, [{"type": "mode"}])
    assert await store.load(KEY) == [{"type": "mode"}, {"type": "mode"}]


async def test_an_entry_larger_than_a_message_is_kept_whole(store: TracecraftSessionStore) -> None:
    import random

    noise = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789 ", k=1_500_000))
    await store.append(KEY, [entry("big", text=noise)])
    await store.append(KEY, [entry("small")])
    assert await store.load(KEY) == [entry("big", text=noise), entry("small")]


async def test_secrets_are_redacted_unless_told_otherwise(store: TracecraftSessionStore) -> None:
    secret = "sk-ant-api03-" + "Zx9" * 20
    await store.append(KEY, [entry("a", message={"content": f"my key is {secret}"})])
    assert secret not in str(await store.load(KEY))
    exact = TracecraftSessionStore(redact=False)
    await exact.append({**KEY, "session_id": "exact"}, [entry("a", text=secret)])
    assert await exact.load({**KEY, "session_id": "exact"}) == [entry("a", text=secret)]
    await exact.close()


async def test_two_processes_store_into_one_session(store: TracecraftSessionStore) -> None:
    writers = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, name, stderr=subprocess.PIPE)
        for name in ("one", "two")
    ]
    for writer in writers:
        _, said = await asyncio.wait_for(writer.communicate(), 60)
        assert writer.returncode == 0, said
    loaded = await store.load({"project_key": "shared", "session_id": "s"})
    assert loaded is not None
    for name in ("one", "two"):
        assert [one["uuid"] for one in loaded if one["uuid"].startswith(name)] == [f"{name}-{n}" for n in range(40)]
    (summary,) = await store.list_session_summaries("shared")
    assert summary["session_id"] == "s"


async def test_without_a_bus_the_sdk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACECRAFT_SERVER", "nats://127.0.0.1:1")
    with pytest.raises(BusUnreachable):
        await TracecraftSessionStore().append(KEY, [entry("a")])
