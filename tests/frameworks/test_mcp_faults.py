"""``tracecraft mcp`` when something dies, races or goes away: the client, the server, the bus, a call."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("mcp")

from tests.frameworks.mcp_client import INITIALIZE, Bare, Refused, bare, connect, outcome
from tracecraft import AsyncSession, claims
from tracecraft_core import coding_session
from tracecraft_core.bodies import Handoff
from tracecraft_core.coding_session import CodingSession

if TYPE_CHECKING:
    from pathlib import Path

    from tracecraft_stack.nats_server import NatsServer


async def test_of_two_servers_one_wins_a_claim() -> None:
    async with connect("a") as a, connect("b") as b:
        for number in range(10):
            tried = await asyncio.gather(
                *(client.call("claim", task=f"S{number}") for client in (a, b)), return_exceptions=True
            )
            assert sorted(isinstance(one, Refused) for one in tried) == [False, True]
            assert all("claim refused" in str(one) for one in tried if isinstance(one, Refused))


async def test_two_servers_with_the_same_agents_name_exclude_each_other_too() -> None:
    async with connect("a") as one, connect("a") as two:
        await one.call("claim", task="S1")
        with pytest.raises(Refused, match="your own name in another session"):
            await two.call("claim", task="S1")


def test_a_cancelled_call_ends_and_holds_nothing() -> None:
    with bare("a") as a, bare("b") as b, bare("c") as c:
        a.call("claim", task="S1")
        waiting = b.start("claim", task="S1", wait=300)
        b.call("whoami")
        b.notify("notifications/cancelled", {"requestId": waiting, "reason": "the person pressed Escape"})
        assert b.call("whoami").get("holds", []) == []
        a.call("complete", task="S1", state="failed")
        assert c.call("claim", task="S1", wait=30)["task"] == "S1"
        assert b.call("whoami").get("holds", []) == []
        assert b.leave()[0] == 0


def test_a_task_of_a_killed_server_is_taken_over() -> None:
    with bare("a") as a, bare("b") as b:
        a.call("claim", task="S1", lease=5)
        a.kill()
        taken = b.call("claim", task="S1", wait=60)
        assert (taken["took_over_from"], taken["attempt"]) == ("a", 2)


@pytest.mark.parametrize("ending", ["input closed", "terminated"])
def test_claims_and_files_of_a_server_that_ends_are_given_back_at_once_with_the_reason(ending: str) -> None:
    with bare("a") as a, bare("b") as b:
        a.call("claim", task="S1", lease=3600)
        a.call("reserve", files=["src/**"])
        a.start("wait", timeout=300)
        a.call("whoami")
        if ending == "terminated":
            a.process.send_signal(signal.SIGTERM)
            a.process.wait(30)
        code, said = a.leave()
        assert (code, said) == (0, "")
        taken = b.call("claim", task="S1")
        assert taken["handoff"]["note"] == "given back: the program that held it has ended before the task was settled"
        assert b.call("reserve", files=["src/**"])["reserved"] == ["src/**"]
        assert [one["online"] for one in b.call("agents", all=True)["agents"] if one["agent"] == "a"] == [False]


async def test_mail_is_acknowledged_by_the_next_call_and_comes_again_when_there_is_none(bus: str, project: str) -> None:
    async with AsyncSession(server=bus, project=project, agent="sender") as sender:
        with bare("a") as a:
            a.call("whoami")
            first = await sender.send("a", "one")
            assert [one["text"] for one in a.call("inbox")["messages"]] == ["one"]
            a.call("whoami")
            await sender.mail.acked(first.id, "a", 30)
            await sender.send("a", "two")
            assert [one["text"] for one in a.call("inbox")["messages"]] == ["two"]
            a.kill()
        with bare("a") as again:
            found = again.call("wait", timeout=60)
            assert [(one["text"], one["again"] > 0) for one in found["messages"]] == [("two", True)]


async def test_unread_mail_and_lost_claims_are_told_with_the_next_result(bus: str, project: str) -> None:
    async with AsyncSession(server=bus, project=project, agent="boss") as boss:
        with bare("a") as a:
            a.call("claim", task="S1", lease=5)
            await boss.send("a", "stop")
            told = await asyncio.to_thread(_until_notice, a, "1 unread message from boss")
            assert told == "1 unread message from boss: read with inbox()"
            await claims.force(boss.context, "S1", "blocked", Handoff(), "the plan has changed")
            lost = await asyncio.to_thread(_until_notice, a, "you no longer hold S1")
            assert "boss has it now (blocked)" in lost
            with pytest.raises(Refused, match="no longer hold S1"):
                a.call("complete", task="S1")


def _until_notice(client: Bare, beginning: str) -> str:
    """The notice, as soon as a result has it."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for notice in client.call("memory_get", key="k").get("notices", []):
            if notice.startswith(beginning):
                return str(notice)
    raise AssertionError(f"no notice {beginning!r}")


def test_a_bus_that_is_away_is_told_and_the_server_works_when_it_is_back(own_nats: NatsServer) -> None:
    own_nats.kill()
    with bare("a", TRACECRAFT_SERVER=own_nats.url) as a:
        assert len(a.answer(a.send("tools/list"))["result"]["tools"]) == 16
        with pytest.raises(Refused, match=r"no NATS server answers .*Call again in some seconds"):
            a.call("claim", task="S1")
        assert "no NATS server answers" in a.call("whoami")["bus"]
        own_nats.start()
        assert a.call("claim", task="S1")["task"] == "S1"
        own_nats.kill()
        pending = a.start("complete", task="S1", note="done all the same")
        own_nats.start()
        assert outcome(a.answer(pending))["state"] == "done"


STRAY = """
import os, sys

def hook(event, arguments):
    bus = os.environ["TRACECRAFT_SERVER"].rpartition(":")[2]
    if event == "socket.connect" and str(arguments[1][1]) == bus:
        print("a stray line", flush=True)
        os.write(1, b"another\\n")
        os.system("echo a third; cat")

sys.addaudithook(hook)
"""


def test_nothing_but_the_protocol_is_on_standard_output_and_rubbish_on_input_is_survived(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(STRAY)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    with bare("a", PYTHONPATH=path) as a:
        assert a.process.stdin is not None
        a.process.stdin.write("this is no JSON\n\n{}\n[1, 2]\n")
        a.process.stdin.flush()
        assert a.call("whoami")["agent"] == "a"
        code, said = a.leave()
    assert code == 0
    assert {"a stray line", "another", "a third"} <= set(said.splitlines())


@pytest.mark.parametrize("begun", [False, True], ids=["at its start", "in the middle"])
def test_a_client_that_goes_before_it_is_answered_is_no_error(begun: bool) -> None:
    with bare("a", begin=begun) as a:
        for _ in range(20):
            a.send("ping") if begun else a.send("initialize", INITIALIZE)
        code, said = a.leave()
    assert (code, said) == (0, "")


def test_inside_of_a_coding_session_the_server_is_its_agent_and_its_claims_stay(
    bus: str, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("TRACECRAFT_AGENT")
    folder = coding_session.own_folder()
    assert folder is not None
    me = coding_session.this_process()
    session = CodingSession(kind="claude", id="1a2b", pid=me.pid, pid_started=me.started, project=project)
    session.sidecar, session.sidecar_started = me.pid, me.started
    coding_session.write(folder, session)
    with bare("", TRACECRAFT_AGENT="") as a:
        asked = a.start("claim", task="S1")  # waits for the sidecar to say who we are
        for _ in range(20):
            a.answer(a.send("prompts/list"))  # the call is under way by now
        session.agent, session.session, session.run = "claude-x", "claude-1a2b", "claude-1a2b"
        coding_session.write(folder, session)
        assert outcome(a.answer(asked))["task"] == "S1"
        who = a.call("whoami")
        assert (who["agent"], who["session"], who["run"]) == ("claude-x", "claude-1a2b", "claude-1a2b")
        assert a.leave()[0] == 0
    with bare("", TRACECRAFT_AGENT="") as restarted:
        assert restarted.call("whoami")["holds"] == ["S1"]
        assert restarted.call("complete", task="S1")["state"] == "done"
        session.session = session.run = "claude-3c4d"
        coding_session.write(folder, session)
        assert restarted.call("whoami")["session"] == "claude-3c4d"
