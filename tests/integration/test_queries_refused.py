"""Questions that the bridge cannot answer now: it says why."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.written_run import WrittenRun
from tracecraft import AsyncSession
from tracecraft.queries import ask
from tracecraft_core import subjects
from tracecraft_core.errors import BridgeAway, BridgeFailed
from tracecraft_core.queries import (
    BundleAnswer,
    PutQuestion,
    RunQuestion,
    RunsList,
    RunsPage,
    Upload,
)

if TYPE_CHECKING:
    from tests.support.bridge import Rig


async def test_while_the_tables_are_made_again_nobody_gets_half_an_answer(rig: Rig) -> None:
    rig.start()
    async with AsyncSession(server=rig.nats.url, project="p", agent="alice") as session:
        await WrittenRun(session.context.bus, "p").begin()
        await rig.caught_up(session.context.bus)
        with psycopg.connect(rig.dsn) as reader:
            reader.execute("SELECT FROM run")  # the rebuild cannot empty the table yet
            rig.query("UPDATE projection SET version = 0, epoch = NULL, seq = NULL")
            with pytest.raises(BridgeAway, match="making its tables again from the log: ask again"):
                await ask(session.context, "runs.list", RunsList(), RunsPage)
        until = time.monotonic() + 15
        while True:
            try:
                page = await ask(session.context, "runs.list", RunsList(), RunsPage)
                break
            except BridgeAway:
                assert time.monotonic() < until
                await asyncio.sleep(0.1)
        assert len(page.runs) == 1


async def test_without_an_artifact_store_questions_that_need_it_say_so(rig: Rig) -> None:
    rig.start()
    async with AsyncSession(server=rig.nats.url, project="p", agent="alice") as session:
        run = WrittenRun(session.context.bus, "p")
        await run.begin()
        await run.end()
        for verb, question, answer in (
            ("artifacts.put", PutQuestion(sha256="0" * 64, size=1), Upload),
            ("runs.bundle", RunQuestion(run=run.run), BundleAnswer),
        ):
            with pytest.raises(BridgeAway, match="artifact store") as caught:
                await ask(session.context, verb, question, answer)
            assert str(caught.value).startswith(
                "the bridge cannot do this now: this bridge has no artifact store: set "
            )
            assert "is it running" not in str(caught.value)
        assert len((await ask(session.context, "runs.list", RunsList(), RunsPage)).runs) == 1


async def test_a_question_on_which_the_bridge_fails_is_told_from_a_bridge_that_is_away(rig: Rig) -> None:
    rig.start()
    async with AsyncSession(server=rig.nats.url, project="p", agent="alice") as session:
        await WrittenRun(session.context.bus, "p").begin()
        await rig.caught_up(session.context.bus)
        rig.query("ALTER TABLE run RENAME COLUMN unpriced TO something_else")
        subject = subjects.query("p", "runs.list")
        reply = await session.context.bus.transport.request(subject, b"{}", timeout=5)
        assert (reply.headers or {})["Nats-Service-Error-Code"] == "500"
        with pytest.raises(BridgeFailed, match=r"runs.list.*UndefinedColumn.*its log has more") as failed:
            await ask(session.context, "runs.list", RunsList(), RunsPage)
        assert not isinstance(failed.value, BridgeAway)
        assert "running?" not in str(failed.value)


async def test_a_bridge_that_does_not_know_a_verb_is_told_from_one_that_is_away(rig: Rig) -> None:
    async with AsyncSession(server=rig.nats.url, project="p", agent="alice") as session:
        with pytest.raises(BridgeAway, match=r"the bridge does not answer .*: is it running\?"):
            await ask(session.context, "runs.foretell", RunsList(), RunsPage)
        rig.start()
        with pytest.raises(BridgeAway, match=r"^the bridge does not know runs\.foretell: it is older"):
            await ask(session.context, "runs.foretell", RunsList(), RunsPage)
