"""Where a run begins and ends in the log: with the first thing that it did, which need not be an event of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.cli import CommandLine
from tests.support.coding_agent import CodingAgent, CodingAgents, until
from tests.support.coding_sessions import append, assistant, text, user
from tests.support.folder import short_lived_folder
from tests.support.written_run import WrittenRun
from tracecraft.queries import ask
from tracecraft.states import state_at
from tracecraft_cli.replay.sources import BundleTape, ServerTape, open_run
from tracecraft_core import inside
from tracecraft_core.queries import (
    BundleAnswer,
    EntriesPage,
    EntriesQuestion,
    RunDetail,
    RunQuestion,
    RunVerification,
    StateQuestion,
    VerifyQuestion,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.artifacts import FileRig
    from tracecraft import AsyncSession


class Desk:
    """A coding agent, and somebody beside it."""

    def __init__(self, cli: CommandLine, agent: CodingAgent) -> None:
        self.cli, self.agent, self.run = cli, agent, f"claude-{agent.id}"

    def in_shell(self, *args: str) -> None:
        """A command of the agent."""
        done = self.agent.cli(*args)
        assert done["code"] == 0, done

    def beside(self, *args: str) -> str:
        """A command of the other one."""
        done = self.cli(*args, agent="bob")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def status(self) -> str | None:
        """Of the run, when there is one."""
        done = self.cli("runs", "inspect", self.run, "--json")
        return json.loads(done.stdout)["result"]["row"]["status"] if done.returncode == 0 else None

    def replayed(self) -> list[tuple[str, str]]:
        """Who did what, as a replay tells it, in its order."""
        shown = [json.loads(line)["result"] for line in self.beside("replay", self.run, "--json").splitlines()]
        names = {"memory": "name", "task": "event", "message": "to", "run": "event", "agent": "event"}
        return [(one["agent"], one[names[one["kind"]]]) for one in shown if one["kind"] in names]


@pytest.fixture
def desk(file_rig: FileRig, project: str) -> Iterator[Desk]:
    with short_lived_folder() as home:
        cli = CommandLine(file_rig.rig.nats.url, project)
        agents = CodingAgents(home, cli)
        try:
            yield Desk(cli, agents(env={"TRACECRAFT_AGENT": "alice"}))
        finally:
            agents.close()


def test_a_replay_shows_what_a_session_did_before_its_transcript_was_read_and_as_it_ended(desk: Desk) -> None:
    desk.beside("memory", "set", "old", "1")
    desk.agent.start()
    desk.in_shell("claim", "T")
    desk.beside("send", "alice", "look at T")
    desk.in_shell("memory", "set", "found", "2")
    assert desk.status() is None
    append(desk.agent.transcript, user(1, "go on"), *assistant(2, text("yes")))
    desk.agent.tool()
    until(desk.status, "the run begins")
    early = [("alice", "claimed"), ("bob", "alice"), ("alice", "found"), ("alice", "started")]
    assert desk.replayed()[:4] == early
    desk.agent.end()
    desk.agent.gone()
    until(lambda: desk.status() == "finished", "the run ends")
    told = desk.replayed()
    assert told[:4] == early
    assert [what for who, what in told if who == "alice"][-4:] == ["open", "left", "agent.ended", "ended"], told


class Early:
    """A run that does things between events, as a session does whose transcript is read later."""

    def __init__(self, session: AsyncSession, run: WrittenRun) -> None:
        self.session, self.run = session, run

    async def remember(self, key: str) -> None:
        """A memory write that names the run."""
        token = inside.RUN.set(self.run.run)
        try:
            await self.session.memory.set(key, 1)
        finally:
            inside.RUN.reset(token)

    async def told(self) -> list[str]:
        """What the log shows of the run, page by page."""
        names, cursor = list[str](), None
        while True:
            question = EntriesQuestion(run=self.run.run, limit=1, cursor=cursor)
            page = await ask(self.session.context, "log.entries", question, EntriesPage)
            names += [entry.subject.rpartition(".")[2] for entry in page.entries]
            cursor = page.next
            if cursor is None:
                return names

    async def detail(self) -> RunDetail:
        return await ask(self.session.context, "runs.get", RunQuestion(run=self.run.run), RunDetail)

    async def bundle(self) -> BundleAnswer:
        return await ask(self.session.context, "runs.bundle", RunQuestion(run=self.run.run), BundleAnswer)

    async def memory_at(self, seq: int) -> set[str]:
        return set((await state_at(self.session.context, StateQuestion(seq=seq, run=self.run.run))).memory)


async def test_a_run_begins_with_the_first_thing_that_it_did(file_rig: FileRig, project: str) -> None:
    async with file_rig.session(project) as session:
        early = Early(session, WrittenRun(session.context.bus, session.project))
        await session.memory.set("nobodys", 1)
        await early.remember("a")
        await session.memory.set("meanwhile", 1)
        await early.remember("b")
        await early.run.begin()
        await early.run.end()
        assert await early.told() == ["a", "meanwhile", "b", "started", "ended"]
        detail, made = await early.detail(), (await early.bundle()).bundle
        assert (made.first_seq, made.last_seq) == (detail.first_seq, detail.last_seq)
        assert detail.last_seq - detail.first_seq == 4
        assert await early.memory_at(detail.first_seq - 1) == {"nobodys"}
        assert await early.memory_at(detail.first_seq + 1) == {"nobodys", "a", "meanwhile"}
        verified = await ask(session.context, "runs.verify", VerifyQuestion(run=early.run.run), RunVerification)
        assert (verified.complete, verified.bundle) == (True, "ok")


async def test_a_bundle_begins_with_the_first_thing_that_a_run_inside_of_it_did(
    file_rig: FileRig, project: str
) -> None:
    async with file_rig.session(project) as session:
        whole = Early(session, WrittenRun(session.context.bus, session.project))
        part = Early(session, WrittenRun(session.context.bus, session.project, parent=whole.run.run))
        await part.remember("a")
        await whole.run.begin()
        await part.run.begin()
        await part.run.end()
        await whole.run.end()
        assert (await whole.bundle()).bundle.first_seq == (await part.detail()).first_seq
        assert (await whole.detail()).first_seq == (await part.detail()).first_seq + 1


async def test_a_run_that_goes_on_reaches_to_the_newest_thing_that_it_did_and_one_that_has_ended_to_its_end(
    file_rig: FileRig, project: str
) -> None:
    async with file_rig.session(project) as session:
        early = Early(session, WrittenRun(session.context.bus, session.project))
        await early.run.begin()
        await early.remember("a")
        await session.memory.set("nobodys", 1)
        assert await early.told() == ["started", "a"]
        await early.run.end()
        assert await early.told() == ["started", "a", "nobodys", "ended"]
        made = (await early.bundle()).bundle
        await early.remember("later")
        assert await early.told() == ["started", "a", "nobodys", "ended"]
        assert (await early.bundle()).bundle == made


async def test_a_bundle_that_has_more_than_the_log_still_has_is_kept(file_rig: FileRig, project: str) -> None:
    async with file_rig.session(project) as session:
        early = Early(session, WrittenRun(session.context.bus, session.project))
        await early.remember("a")
        await early.run.begin()
        await early.run.end()
        made = (await early.bundle()).bundle
        file_rig.rig.query("DELETE FROM log WHERE project = %s AND seq = %s", project, made.first_seq)
        assert (await early.detail()).first_seq == made.first_seq + 1
        assert (await early.bundle()).bundle == made


async def test_a_bundle_that_begins_too_late_is_passed_over_until_it_is_made_again(
    file_rig: FileRig, project: str
) -> None:
    async with file_rig.session(project) as session:
        early = Early(session, WrittenRun(session.context.bus, session.project))
        await early.remember("a")
        await early.run.begin()
        await early.run.end()
        made = (await early.bundle()).bundle
        late = "UPDATE bundle SET first_seq = first_seq + 1 WHERE project = %s"  # as bundles were made once
        file_rig.rig.query(late, project)
        assert isinstance(await open_run(session.context, early.run.run), ServerTape)
        assert (await early.bundle()).bundle.first_seq == made.first_seq
        assert isinstance(await open_run(session.context, early.run.run), BundleTape)
