"""The state at every sequence of the log is what was there: random work on real servers, remembered step by step."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tracecraft import claims
from tracecraft.artifacts import get_file
from tracecraft.context import Context
from tracecraft.mail import AsyncMail, create_mailbox
from tracecraft.memory import AsyncMemory
from tracecraft.queries import ask
from tracecraft.states import state_at
from tracecraft.tasklist import AsyncTasks
from tracecraft_core import bodies, ids, run_events, subjects
from tracecraft_core.bundle import BundleReader
from tracecraft_core.errors import RevisionConflict, TracecraftError
from tracecraft_core.queries import BundleAnswer, GetQuestion, RunQuestion, State, StateQuestion
from tracecraft_core.tasks import Holder

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from tests.support.artifacts import FileRig
    from tracecraft.claims import Held
    from tracecraft_core.bus import Bus

AGENTS = ("ann", "bob", "cat")
KEYS = ("k", "a.b", "a.c=1")
TASKS = ("t1", "S1.t2")
agents, keys, tasks = st.sampled_from(AGENTS), st.sampled_from(KEYS), st.sampled_from(TASKS)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8) | st.sampled_from([0.1, -2.5, 1e17]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


class Work(RuleBasedStateMachine):
    """Agents at work in a project of their own; what they did is remembered under the sequence that it had."""

    runner: ClassVar[asyncio.Runner]
    bus: ClassVar[Bus]

    def __init__(self) -> None:
        super().__init__()
        self.project, self.run = f"t{secrets.token_hex(4)}", ids.run()
        self.contexts = {name: Context(self.bus, self.project, Holder(name, "s")) for name in AGENTS}
        self.mails = {name: AsyncMail(context) for name, context in self.contexts.items()}
        self.memory: dict[str, tuple[Any, int, str]] = {}
        self.tasks: dict[str, tuple[dict[str, Any], int]] = {}
        self.boxes: dict[str, dict[int, tuple[str, str]]] = {}
        self.steps: dict[str, tuple[str, str]] = {}
        self.held: dict[str, tuple[str, Held]] = {}
        self.truth: dict[int, tuple[Any, ...]] = {}
        self.number = 0

    @classmethod
    def do(cls, work: Coroutine[Any, Any, Any]) -> Any:
        return cls.runner.run(work)

    @initialize()
    def begin(self) -> None:
        self.event("ann", run_events.RunStarted(name="work", time=1), "started")

    @rule(agent=agents, key=keys, value=values)
    def set(self, agent: str, key: str, value: Any) -> None:
        revision = self.do(AsyncMemory(self.contexts[agent]).set(key, value))
        self.memory[key] = (value, revision, agent)
        self.changed("memory", key, revision)

    @rule(agent=agents, key=keys, value=values, right=st.booleans())
    def compare_and_set(self, agent: str, key: str, value: Any, right: bool) -> None:
        entry = self.do(AsyncMemory(self.contexts[agent]).entry(key))
        expected = entry.revision if entry else 0
        try:
            revision = self.do(AsyncMemory(self.contexts[agent]).set(key, value, if_revision=expected + (not right)))
        except RevisionConflict:
            return
        self.memory[key] = (value, revision, agent)
        self.changed("memory", key, revision)

    @precondition(lambda self: self.memory)
    @rule(agent=agents, data=st.data())
    def delete(self, agent: str, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.memory)))
        revision = self.do(AsyncMemory(self.contexts[agent]).delete(key))
        del self.memory[key]
        self.changed("memory", key, revision)

    @rule(agent=agents, task=tasks, title=st.text(max_size=5))
    def add(self, agent: str, task: str, title: str) -> None:
        self.try_task(task, AsyncTasks(self.contexts[agent]).add(task, title=title))

    @rule(agent=agents, task=tasks)
    def claim(self, agent: str, task: str) -> None:
        held = self.try_task(task, claims.claim(self.contexts[agent], task, 60))
        if held is not None:
            self.held[task] = (agent, held)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), done=st.booleans())
    def settle(self, data: st.DataObject, done: bool) -> None:
        task = data.draw(st.sampled_from(sorted(self.held)))
        agent, held = self.held.pop(task)
        handoff = bodies.Handoff(note="so")
        context = self.contexts[agent]
        self.try_task(
            task, claims.settle(context, held, "done", handoff) if done else claims.release(context, held, handoff)
        )

    @rule(agent=agents)
    def join(self, agent: str) -> None:
        self.do(create_mailbox(self.contexts[agent], agent, registered=True))
        self.boxes.setdefault(agent, {})
        self.publish(subjects.agent_event(self.project, agent, "joined"), b"{}")

    @rule(agent=agents, to=agents, text=st.text(min_size=1, max_size=5))
    def send(self, agent: str, to: str, text: str) -> None:
        sent = self.do(self.mails[agent].send(to, text))
        self.boxes.setdefault(to, {})[sent.id] = (text, "stored")
        self.remember(sent.id)

    @rule(agent=agents, text=st.text(min_size=1, max_size=5))
    def broadcast(self, agent: str, text: str) -> None:
        sent = self.do(self.mails[agent].broadcast(text))
        for name, box in self.boxes.items():
            if name != agent:
                box[sent.id] = (text, "stored")
        self.remember(sent.id)

    @precondition(lambda self: any(self.boxes.values()))
    @rule(data=st.data(), acknowledge=st.booleans())
    def read(self, data: st.DataObject, acknowledge: bool) -> None:
        agent = data.draw(st.sampled_from(sorted(name for name, box in self.boxes.items() if box)))
        messages = self.do(self.mails[agent].inbox(limit=1))
        for message in messages:
            if acknowledge:
                assert self.do(self.mails[agent].ack(message))
                del self.boxes[agent][message.id]
            else:
                self.do(self.mails[agent].unread(message))
                self.do(self.mails[agent].tell(message, "fetched"))
                self.boxes[agent][message.id] = (message.text, "fetched")
            self.remember(self.newest(subjects.receipt(self.project, message.sender, agent)))

    @rule(agent=agents, ends=st.booleans())
    def step(self, agent: str, ends: bool) -> None:
        if ends and agent in self.steps:
            id_, _ = self.steps[agent]
            self.steps[agent] = (id_, "error")
            self.event(
                agent, run_events.StepEnded(step=id_, name="s", time=2, duration=1, status="error"), "step.ended"
            )
        else:
            self.steps[agent] = (ids.step(), "open")
            self.event(agent, run_events.StepStarted(step=self.steps[agent][0], name="s", time=1), "step.started")

    def event(self, agent: str, body: bodies.Body, event: str) -> None:
        self.number += 1
        subject = subjects.run_event(self.project, self.run, agent, event)
        self.publish(subject, bodies.encode(body), f"w{self.run[-6:]}:{self.number}")

    def publish(self, subject: str, body: bytes, msg_id: str | None = None) -> None:
        self.remember(self.do(self.bus.publish(subject, body, msg_id=msg_id)).seq)

    def try_task(self, task: str, work: Coroutine[Any, Any, Any]) -> Any:
        """Do something with a task, which may be refused, and remember its record when it changed."""
        result = None
        with contextlib.suppress(TracecraftError):
            result = self.do(work)
        stored = self.do(self.bus.leader_get(*self.contexts["ann"].kv(subjects.TASKS, task)))
        if stored is not None and self.tasks.get(task, ({}, 0))[1] != stored.seq:
            self.tasks[task] = (json.loads(stored.data), stored.seq)
            self.changed("task", task, stored.seq)
        return result

    def changed(self, family: str, key: str, revision: int) -> None:
        """Wait until a change of a bucket is in the log: between two sources the log's order is its own."""
        subject = f"tc.{self.project}.{family}.{key}"
        self.remember(self.do(self.sourced(subject, revision)))

    async def sourced(self, subject: str, revision: int) -> int:
        while True:
            stored = await self.bus.leader_get(subjects.LOG, subject)
            if stored is not None and int(stored.headers[subjects.STREAM_SOURCE].split(" ")[1]) >= revision:
                return stored.seq

    def newest(self, subject: str) -> int:
        stored = self.do(self.bus.leader_get(subjects.LOG, subject))
        assert stored is not None
        return int(stored.seq)

    def remember(self, seq: int) -> None:
        boxes = {agent: dict(sorted(box.items())) for agent, box in self.boxes.items()}
        self.truth[seq] = (dict(self.memory), dict(self.tasks), boxes, dict(self.steps))

    def teardown(self) -> None:
        if not self.number:
            return
        self.event("ann", run_events.RunEnded(status="finished", time=9), "ended")
        self.do(self.compare())

    async def compare(self) -> None:
        context = self.contexts["ann"]
        answer = await ask(context, "runs.bundle", RunQuestion(run=self.run), BundleAnswer)
        with TemporaryDirectory() as folder:
            path = Path(folder) / "run.tcb"
            await get_file(context, GetQuestion(sha256=answer.bundle.sha256), path)
            with BundleReader.open(path) as bundle:
                assert bundle.verify() == []
                first, last = bundle.manifest.first_seq, bundle.manifest.last_seq
                assert set(self.truth) <= set(range(first, last + 1))
                for seq in range(first - 1, last + 1):
                    await self.compare_at(context, bundle, seq)

    async def compare_at(self, context: Context, bundle: BundleReader, seq: int) -> None:
        mirrored = await state_at(context, StateQuestion(seq=seq, run=self.run))
        assert seen(bundle.state_at(seq)) == seen(mirrored), seq
        of_project = await state_at(context, StateQuestion(seq=seq))
        assert seen(of_project) == seen(mirrored), seq
        if seq in self.truth:
            assert plain(mirrored) == self.truth[seq], seq


def seen(state: State) -> Any:
    return msgspec.to_builtins(state)


def plain(state: State) -> tuple[Any, ...]:
    """A state in the words of the model."""
    return (
        {key: (each.value, each.revision, each.agent) for key, each in state.memory.items()},
        {task: (each.record, each.fence) for task, each in state.tasks.items()},
        {agent: {mail.id: (mail.text, mail.state) for mail in mails} for agent, mails in state.mailboxes.items()},
        {agent: (last.step, last.status) for agent, last in state.steps.items()},
    )


def test_state_at_every_sequence_is_what_was_there(file_rig: FileRig) -> None:
    with asyncio.Runner() as runner:
        Work.runner, Work.bus = runner, file_rig.rig.bus()
        runner.run(Work.bus.connect())
        try:
            run_state_machine_as_test(
                Work,
                settings=settings(
                    max_examples=6,
                    stateful_step_count=60,
                    deadline=None,
                    database=None,
                    phases=[Phase.explicit, Phase.generate],
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(Work.bus.close())
