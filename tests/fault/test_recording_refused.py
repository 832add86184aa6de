"""A log that refuses: a right that is missing, and no room. What it takes arrives, what it does not is told."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.recording import RUN, chosen, logged, note, recorder, texts
from tracecraft.recording import spool
from tracecraft.recording.recorder import deliver_spools, spools
from tracecraft_core import subjects, topology
from tracecraft_core.bus import Bus
from tracecraft_core.transport import ServerOptions
from tracecraft_stack.nats_server import NatsServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

USERS = """
authorization {
  users: [
    { user: admin, password: p }
    { user: limited, password: p, permissions: {
        publish: { deny: ["tc.*.run.*.bob.>", "$KV.tc_agents.>"] }
    } }
    { user: reader, password: p, permissions: { publish: { deny: ["tc.>"] } } }
  ]
}
"""


@pytest.fixture(autouse=True)
def spool_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(spool.VARIABLE, str(tmp_path / "spool"))


@pytest.fixture
async def guarded(server_folder: Path) -> AsyncIterator[NatsServer]:
    """A server with users of different rights, and the streams in place."""
    with NatsServer(server_folder / "guarded", extra_config=USERS) as server:
        async with Bus(ServerOptions(servers=(server.url,), user="admin", password="p")) as bus:
            await topology.ensure(bus)
        yield server


async def test_what_may_not_be_written_is_put_aside_with_one_warning_and_the_rest_goes_on(
    guarded: NatsServer, project: str, caplog: pytest.LogCaptureFixture
) -> None:
    here = recorder(guarded.url, project, user="limited", password="p")
    for number in range(1, 31):
        note(here, number, "bob" if number % 3 == 0 else "alice")
    here.metric("bob", "n", 1.0, 1, 1)
    counts = await here.flush_async(10)
    assert (counts.acknowledged, counts.spooled, counts.dropped) == (20, 0, 11)
    note(here, 31)
    note(here, 33, "bob")
    counts = await here.close_async(timeout=10)
    assert (counts.acknowledged, counts.spooled, counts.dropped) == (21, 0, 12)
    assert texts(await logged(guarded.url, project, "admin")) == [n for n in range(1, 32) if n % 3]
    (warning,) = [line.getMessage() for line in caplog.records if line.name.startswith("tracecraft.")]
    assert f"tc.{project}.run.{RUN}.bob.log" in warning
    assert not spools()


async def test_a_user_who_may_write_nothing_loses_nothing(
    guarded: NatsServer, project: str, caplog: pytest.LogCaptureFixture
) -> None:
    here = recorder(guarded.url, project, user="reader", password="p")
    for number in range(1, 11):
        note(here, number)
    counts = await here.close_async(timeout=1.5)
    assert (counts.acknowledged, counts.spooled, counts.dropped) == (0, 10, 0)
    assert "may not publish to" in caplog.text
    (refused,) = await deliver_spools(chosen(guarded.url, project, user="reader", password="p"), timeout=1.5)
    assert "may not publish to" in str(refused.problem)
    (found,) = await deliver_spools(chosen(guarded.url, project, user="admin", password="p"))
    assert (found.problem, found.events) == (None, 10)


async def test_when_the_log_is_full_the_run_goes_on_and_is_delivered_when_there_is_room(
    own_nats: NatsServer, project: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Bus(ServerOptions(servers=(own_nats.url,))) as bus:
        await topology.ensure(bus)
        (log,) = [wanted for wanted in topology.definitions() if wanted["name"] == subjects.LOG]
        log["metadata"] = (await bus.api(f"STREAM.INFO.{subjects.LOG}"))["config"]["metadata"]
        await bus.api(f"STREAM.UPDATE.{subjects.LOG}", {**log, "max_bytes": 20_000})
        here = recorder(own_nats.url, project)
        for number in range(1, 501):
            note(here, number)
        begun = time.monotonic()
        counts = await here.flush_async(1.0)
        assert time.monotonic() - begun < 2
        assert (counts.acknowledged + counts.spooled, counts.dropped) == (500, 0)
        assert 0 < counts.spooled < 500
        note(here, 501)
        await bus.api(f"STREAM.UPDATE.{subjects.LOG}", {**log, "max_bytes": -1})
        counts = await here.close_async(timeout=20)
    assert (counts.acknowledged, counts.spooled, counts.dropped) == (501, 0, 0)
    assert sorted(texts(await logged(own_nats.url, project))) == list(range(1, 502))
    (warning,) = [line.getMessage() for line in caplog.records if line.name.startswith("tracecraft.")]
    assert "its records are kept" in warning
    assert not spools()
