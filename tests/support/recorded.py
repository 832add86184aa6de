"""Entries of a run as the log has them, written by hand: what a replay is tested with where no server is needed."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from tracecraft_core import queries, run_events, subjects
from tracecraft_core.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tracecraft_cli.replay.where import Where
    from tracecraft_core.bodies import Body

START = 1_795_000_000_000_000
"""Microseconds since 1970: 2026-11-18T11:06:40Z."""
RUN = "20261118-110640-k3x9qa"


class Recording:
    """Writes entries one after the other; `tick` lets time pass. Also a source of a tape, a few entries a page."""

    def __init__(self, project: str = "lab", run: str = RUN, title: str = "search", page: int = 3) -> None:
        self.project, self.run, self.title, self.page = project, run, title, page
        self.entries: list[queries.Entry] = []
        self.about: dict[str, Any] = {"status": "finished"}
        self.now = START
        self.blobs: dict[str, bytes] = {}
        self.read = 0
        """Pages that were read."""

    @property
    def first_seq(self) -> int:
        return self.entries[0].seq if self.entries else 0

    @property
    def last_seq(self) -> int:
        return self.entries[-1].seq if self.entries else 0

    def tick(self, microseconds: int) -> None:
        """Let time pass."""
        self.now += microseconds

    def put(self, subject: str, body: Any, headers: dict[str, str] | None = None) -> int:
        """Append an entry; returns its sequence. Sequences go up by ten."""
        seq = 10 * (len(self.entries) + 1)
        time = datetime.datetime.fromtimestamp(self.now / 1e6, datetime.UTC).isoformat().replace("+00:00", "Z")
        self.entries.append(queries.Entry(seq=seq, time=time, subject=subject, headers=headers or {}, body=body))
        return seq

    def event(self, agent: str, event: str, **fields: Any) -> int:
        """Append an event of the run, in the very form that `run_events` gives it."""
        kind = run_events.EVENTS[event]
        timed = {"time": self.now} if "time" in kind.__struct_fields__ and kind is not run_events.StepData else {}
        body: Body = kind(**{**timed, **fields})
        subject = subjects.run_event(self.project, self.run, agent, event)
        return self.put(subject, msgspec.json.decode(msgspec.json.encode(body)))

    def begin(self, agent: str, step: str, name: str, kind: str = "other", parent: str | None = None) -> int:
        """Begin a step."""
        return self.event(agent, "step.started", step=step, name=name, kind=kind, parent=parent)

    def end(self, agent: str, step: str, name: str, took: int, error: str | None = None, **more: Any) -> int:
        """End a step that took so many microseconds."""
        failure = run_events.Failure(type="ValueError", message=error) if error else None
        status = "error" if error else "ok"
        facts = {"name": name, "duration": took, "status": status, "error": failure}
        return self.event(agent, "step.ended", step=step, **facts, **more)

    def message(self, sender: str, to: str, text: str) -> int:
        """Send a message."""
        return self.put(subjects.message(self.project, to, sender), {"text": text})

    def receipt(self, reader: str, sender: str, message: int, state: str = "acked") -> int:
        """Read a message."""
        return self.put(subjects.receipt(self.project, sender, reader), {"id": message, "state": state})

    def memory(self, agent: str, key: str, value: Any) -> int:
        """Change the memory."""
        return self.put(subjects.memory_change(self.project, key), value, {subjects.WRITER: agent})

    def forget(self, agent: str, key: str) -> int:
        """Delete a key."""
        headers = {subjects.WRITER: agent, subjects.KV_OPERATION: "DEL"}
        return self.put(subjects.memory_change(self.project, key), None, headers)

    def task(self, agent: str, task: str, state: str, **more: Any) -> int:
        """Change a task."""
        return self.put(subjects.task_change(self.project, task), {"state": state, "owner": agent, **more})

    async def pages(self) -> AsyncIterator[Sequence[queries.Entry]]:
        for first in range(0, len(self.entries), self.page):
            self.read += 1
            yield self.entries[first : first + self.page]

    async def entry(self, seq: int) -> queries.Entry:
        found = next((entry for entry in self.entries if entry.seq == seq), None)
        if found is None:
            raise NotFound("entry", str(seq))
        return found

    async def state(self, seq: int) -> queries.State:
        memory: dict[str, queries.MemoryValue] = {}
        for entry in self.entries:
            if entry.seq <= seq and ".memory." in entry.subject:
                key = entry.subject.partition(".memory.")[2]
                memory[key] = queries.MemoryValue(value=entry.body, revision=entry.seq, seq=entry.seq)
                if subjects.KV_OPERATION in entry.headers:
                    del memory[key]
        return queries.State(seq=seq, time=None, memory=memory, tasks={}, mailboxes={}, steps={})

    async def state_at(self, where: Where) -> queries.State:
        return await self.state(where.seq or 0)

    async def blob(self, sha256: str) -> bytes:
        if sha256 not in self.blobs:
            raise NotFound("file", sha256)
        return self.blobs[sha256]

    async def close(self) -> None: ...


def a_search(title: str = "digits search") -> Recording:
    """A run of three agents: nested steps, messages, claims, memory, a failure."""
    tape = Recording(title=title)
    tape.event("lead", "started", name=title, params={"budget": 40, "data": "digits"})
    for agent, role, model in (("lead", "planner", "gpt-5"), ("ann", "worker", "haiku"), ("bob", "worker", "haiku")):
        tape.event(agent, "agent.started", role=role, model=model)
    tape.tick(180_000)
    tape.begin("lead", f"{1:016x}", "plan the search", "task")
    tape.tick(60_000)
    tape.begin("lead", f"{2:016x}", "ask the model", "llm", f"{1:016x}")
    tape.event("lead", "step.input", step=f"{2:016x}", value={"prompt": "Which models shall we try on digits?"})
    tape.tick(900_000)
    tape.event("lead", "usage", step=f"{2:016x}", model="gpt-5", provider="openai", input=1200, output=340, cost=0.0123)
    tape.event("lead", "step.output", step=f"{2:016x}", value={"answer": ["svm", "forest", "mlp"]})
    tape.end("lead", f"{2:016x}", "ask the model", 900_000, kind="llm", parent=f"{1:016x}")
    tape.tick(40_000)
    tape.memory("lead", "plan.models", ["svm", "forest", "mlp"])
    sent = [tape.message("lead", "ann", "take the svm"), tape.message("lead", "bob", "take the forest")]
    tape.tick(90_000)
    tape.end("lead", f"{1:016x}", "plan the search", 1_090_000, kind="task")
    tape.receipt("ann", "lead", sent[0])
    tape.tick(120_000)
    tape.receipt("bob", "lead", sent[1])
    tape.task("ann", "idea.svm", "claimed")
    tape.begin("ann", f"{3:016x}", "train svm", "task")
    tape.tick(50_000)
    tape.task("bob", "idea.forest", "claimed")
    tape.begin("bob", f"{4:016x}", "train forest", "task")
    for trial in range(6):
        ann, bob = f"{10 + trial:016x}", f"{30 + trial:016x}"
        tape.begin("ann", ann, f"fit C={2**trial}", "tool_call", f"{3:016x}")
        tape.begin("bob", bob, f"fit trees={50 * (trial + 1)}", "tool_call", f"{4:016x}")
        tape.tick(210_000)
        tape.event("ann", "metric", points=[("accuracy", 0.9 + trial / 100, trial, tape.now)])
        tape.end("ann", ann, f"fit C={2**trial}", 210_000, kind="tool_call", parent=f"{3:016x}")
        tape.tick(70_000)
        bad = "out of memory: 4,000 trees" if trial == 4 else None
        tape.end("bob", bob, f"fit trees={50 * (trial + 1)}", 280_000, bad, kind="tool_call", parent=f"{4:016x}")
        tape.tick(30_000)
    tape.memory("ann", "best.accuracy", 0.95)
    tape.event("ann", "artifact", name="models/svm.joblib", sha256="ab" * 32, size=120_331)
    tape.end("ann", f"{3:016x}", "train svm", 1_900_000, kind="task")
    tape.task("ann", "idea.svm", "done", handoff={"note": "0.95 with C=32"})
    answer = tape.message("ann", "lead", "svm: 0.95 with C=32")
    tape.tick(60_000)
    tape.end("bob", f"{4:016x}", "train forest", 1_940_000, "one of six fits failed", kind="task")
    tape.task("bob", "idea.forest", "failed", handoff={"note": "out of memory"})
    tape.event("bob", "log", text="giving up the forest", level="error")
    tape.message("bob", "lead", "the forest failed, see the task")
    tape.tick(100_000)
    tape.receipt("lead", "ann", answer)
    tape.begin("lead", f"{5:016x}", "decide", "llm")
    tape.tick(400_000)
    tape.event("lead", "usage", step=f"{5:016x}", model="gpt-5", input=800, output=90, cost=0.004)
    tape.end("lead", f"{5:016x}", "decide", 400_000, kind="llm")
    tape.memory("lead", "winner", {"model": "svm", "C": 32})
    tape.forget("lead", "plan.models")
    tape.event("lead", "ended", status="finished")
    return tape


def delivered_late(delay: int = 3_600_000_000) -> Recording:
    """A run of 600 ms that was recorded while no bus was there; in between a message of somebody else."""
    tape = Recording()
    tape.tick(delay)
    tape.event("ann", "started", name="search", time=START)
    tape.event("ann", "step.started", step="1" * 16, name="fit", time=START + 100_000)
    tape.event("ann", "step.input", step="1" * 16, value=1)
    tape.event("ann", "metric", points=[("loss", 0.5, 0, START + 300_000), ("loss", 0.4, 1, START + 400_000)])
    tape.event("ann", "step.output", step="1" * 16, value=2)
    tape.event("ann", "step.ended", step="1" * 16, name="fit", time=START + 500_000, duration=400_000)
    tape.message("bob", "eve", "meanwhile")
    tape.event("ann", "ended", status="finished", time=START + 600_000)
    return tape
