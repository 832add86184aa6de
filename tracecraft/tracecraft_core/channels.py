"""The subjects of the AsyncAPI document: who writes what, with an example of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from tracecraft_core import queries, run_events, subjects
from tracecraft_core.bodies import AgentEvent, Body, Lease, Message, Presence, Receipt, TaskRecord

PARAMETERS: Final = {
    "project": "Project: one token, 1 to 64 of `A-Za-z0-9_-`.",
    "to": "Agent that the message is for: one token, 1 to 64 of `A-Za-z0-9_-`.",
    "from": "Agent that sends: one token. Permissions on this last token forbid spoofing.",
    "sender": "Agent that sent the message that the receipt is about.",
    "reader": "Agent that read it, and writes the receipt.",
    "agent": "Agent: one token, 1 to 64 of `A-Za-z0-9_-`.",
    "event": "What happened.",
    "key": "Memory key: dotted tokens of `A-Za-z0-9_=/-`, at most 256 characters; it spans one or more tokens.",
    "id": "Task id: dotted tokens of `A-Za-z0-9_=/-`, at most 256 characters; it spans one or more tokens.",
    "run": "Run: one token, 1 to 64 of `A-Za-z0-9_-`.",
    "writer": "A process that writes into the run: 1 to 64 of `A-Za-z0-9_-`.",
}

_ONCE: Final = ("MSG_ID", "TRACEPARENT")
_CAS: Final = ("MSG_ID", "EXPECTED_REVISION", "KV_OPERATION")


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One family of subjects."""

    name: str
    address: str
    title: str
    summary: str
    written_by: str
    stream: str | None
    """The stream that stores it; ``None`` when it is not stored."""
    headers: tuple[str, ...] = ()
    """Names of constants in `subjects`."""
    body: type[Body] | type[queries.Question] | None = None
    """``None``: any JSON."""
    example: Any = None
    events: tuple[str, ...] = ()
    sends: bool = True
    """Whether an agent writes here."""
    receives: bool = True
    """Whether an agent reads here."""
    source: str | None = None
    """The bucket that the server sources it from."""
    answer: type[queries.Answer] | None = None
    """What comes back from the bridge."""


_COORDINATION: Final = (
    Channel(
        name="directMessage",
        address=subjects.message("{project}", "{to}", "{from}"),
        title="Direct message",
        summary="A message to one agent, online or not. Its id is its sequence in the log.",
        written_by="the sender",
        stream=subjects.LOG,
        headers=(*_ONCE, "RUN"),
        body=Message,
        example=Message(text="the parser is done, tests are missing", kind="handoff", thread="S1"),
    ),
    Channel(
        name="broadcast",
        address=subjects.broadcast("{project}", "{from}"),
        title="Broadcast",
        summary="A message to every agent that is registered when it is stored, except its sender.",
        written_by="the sender",
        stream=subjects.LOG,
        headers=(*_ONCE, "RUN"),
        body=Message,
        example=Message(text="main is frozen until the release is out"),
    ),
    Channel(
        name="receipt",
        address=subjects.receipt("{project}", "{sender}", "{reader}"),
        title="Receipt",
        summary="What a reader did with a message.",
        written_by="the reader",
        stream=subjects.LOG,
        headers=_ONCE,
        body=Receipt,
        example=Receipt(id=1842, state="acked"),
    ),
    Channel(
        name="agentEvent",
        address=subjects.agent_event("{project}", "{agent}", "{event}"),
        title="Agent event",
        summary="An agent came, changed, went, or was lost.",
        written_by="the agent; the bridge for `lost`",
        stream=subjects.LOG,
        headers=_ONCE,
        body=AgentEvent,
        example=AgentEvent(session="cli-4f2a", mode="oneshot", host="build-3", pid=4711),
        events=("joined", "status", "left", "lost"),
    ),
    Channel(
        name="memoryChange",
        address=subjects.memory_change("{project}", "{key}"),
        title="Memory change",
        summary="A write to the shared memory as it stands in the log; an empty body with `KV-Operation` deletes.",
        written_by="the server, from the memory bucket",
        stream=subjects.LOG,
        headers=("STREAM_SOURCE", *_CAS, "FENCE", "WRITER", "RUN"),
        example={"papers": 47},
        sends=False,
        source=subjects.MEMORY,
    ),
    Channel(
        name="taskChange",
        address=subjects.task_change("{project}", "{id}"),
        title="Task change",
        summary="A write of a task record as it stands in the log.",
        written_by="the server, from the task bucket",
        stream=subjects.LOG,
        headers=("STREAM_SOURCE", *_CAS, "WRITER"),
        body=TaskRecord,
        example=TaskRecord(state="open", title="Parse the input", created_by="planner"),
        sends=False,
        source=subjects.TASKS,
    ),
    Channel(
        name="memory",
        address=subjects.kv_subject(subjects.MEMORY, "{project}", "{key}"),
        title="Memory value",
        summary="A value of the shared memory: any JSON. Its sequence in the bucket is its revision.",
        written_by="any agent",
        stream=subjects.kv_stream(subjects.MEMORY),
        headers=(*_CAS, "FENCE", "WRITER", "RUN"),
        example={"papers": 47},
    ),
    Channel(
        name="task",
        address=subjects.kv_subject(subjects.TASKS, "{project}", "{id}"),
        title="Task record",
        summary="A task. Every write is a compare-and-set; the sequence of a claim's write is its fencing token.",
        written_by="any agent, by compare-and-set",
        stream=subjects.kv_stream(subjects.TASKS),
        headers=(*_CAS, "WRITER"),
        body=TaskRecord,
        example=TaskRecord(
            state="claimed", created_by="planner", owner="w1", session="cli-4f2a", nonce="mV0w2Zq1", attempt=1
        ),
    ),
    Channel(
        name="lease",
        address=subjects.kv_subject(subjects.LEASES, "{project}", "{id}"),
        title="Lease",
        summary="Proof that the owner of a task is alive. Every write is a compare-and-set with a TTL.",
        written_by="the owner; the server writes the marker of a lapse",
        stream=subjects.kv_stream(subjects.LEASES),
        headers=(*_CAS, "TTL", "MARKER_REASON"),
        body=Lease,
        example=Lease(owner="w1", session="cli-4f2a", nonce="mV0w2Zq1", ttl=30, fence=318),
    ),
    Channel(
        name="runPresence",
        address=subjects.kv_subject(subjects.AGENTS, "{project}", subjects.run_presence("{run}", "{writer}")),
        title="Presence of a writer",
        summary="A process that writes into a run is alive: when the last one lapses, the bridge closes the run.",
        written_by="the process; the server writes the marker of a lapse",
        stream=subjects.kv_stream(subjects.AGENTS),
        headers=(*_CAS, "TTL", "MARKER_REASON"),
        body=Presence,
        example=Presence(session="s-4f2a", mode="live", host="build-3", pid=4711, ttl=30),
    ),
    Channel(
        name="presence",
        address=subjects.kv_subject(subjects.AGENTS, "{project}", "{agent}"),
        title="Presence",
        summary="An agent that is online. Every write has a TTL.",
        written_by="the agent; the server writes the marker of a lapse",
        stream=subjects.kv_stream(subjects.AGENTS),
        headers=(*_CAS, "TTL", "MARKER_REASON"),
        body=Presence,
        example=Presence(session="cli-4f2a", mode="oneshot", host="build-3", pid=4711, ttl=900, tasks=["S1.parse"]),
    ),
)


_TIME: Final = 1_790_000_000_000_000
_STEP: Final = "00f067aa0ba902b7"
_HASH: Final = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

RUN_EXAMPLES: Final[dict[str, Body]] = {
    "started": run_events.RunStarted(name="prompt-comparison", time=_TIME, params={"lr": 0.01}, tags={"team": "a"}),
    "joined": run_events.RunJoined(time=_TIME, origin=run_events.Origin(host="build-3", pid=4712)),
    "left": run_events.WriterLeft(time=_TIME),
    "ended": run_events.RunEnded(status="finished", time=_TIME),
    "crashed": run_events.RunCrashed(reason="its last writer fell silent", last_step=_STEP, last_agent="researcher"),
    "deleted": run_events.RunDeleted(by="ada", reason="a trial"),
    "agent.started": run_events.AgentStarted(time=_TIME, model="gpt-5", role="searches"),
    "agent.ended": run_events.AgentEnded(time=_TIME),
    "step.started": run_events.StepStarted(step=_STEP, name="search", kind="tool_call", time=_TIME),
    "step.input": run_events.StepData(step=_STEP, value={"query": "multi-agent coordination"}),
    "step.output": run_events.StepData(
        step=_STEP, blob=run_events.Blob(sha256=_HASH, size=734_003, preview='[{"title": "A survey')
    ),
    "step.ended": run_events.StepEnded(step=_STEP, name="search", kind="tool_call", time=_TIME, duration=184_000),
    "usage": run_events.Usage(
        time=_TIME, step=_STEP, provider="openai", model="gpt-5", input=812, cache_read=4096, output=212, reasoning=64
    ),
    "metric": run_events.Metric(points=[("loss", 0.31, 100, _TIME), ("loss", 0.29, 101, _TIME)]),
    "param": run_events.Params(params={"depth": 6}, time=_TIME),
    "tag": run_events.Tags(tags={"verdict": "keep"}, time=_TIME),
    "artifact": run_events.Artifact(name="models/best.joblib", sha256=_HASH, size=48_211, time=_TIME, kind="model"),
    "log": run_events.LogLine(text="epoch 3 done", time=_TIME),
}
"""An example of each event of a run."""

QUESTION_EXAMPLES: Final[dict[str, queries.Question]] = {
    "runs.list": queries.RunsList(filter='metrics.loss < 0.3 and tags.team = "a"', sort="metrics.loss", limit=20),
    "runs.get": queries.RunQuestion(run="k3x9qa"),
    "runs.steps": queries.StepsList(run="k3x9qa", agent="researcher"),
    "runs.outline": queries.RunQuestion(run="k3x9qa"),
    "runs.search": queries.SearchQuestion(text="retry budget", sessions=True),
    "runs.plot": queries.PlotQuestion(run="k3x9qa", keys=["loss"]),
    "runs.points": queries.PointsQuestion(run="k3x9qa", key="loss"),
    "runs.verify": queries.VerifyQuestion(run="k3x9qa", deep=True),
    "runs.bundle": queries.RunQuestion(run="k3x9qa"),
    "runs.import": queries.ImportQuestion(sha256=_HASH),
    "runs.delete": queries.DeleteQuestion(run="k3x9qa", by="ada", reason="a trial"),
    "log.entries": queries.EntriesQuestion(run="k3x9qa", only_run=True),
    "state.at": queries.StateQuestion(seq=1842),
    "cost": queries.CostQuestion(by="model"),
    "artifacts.put": queries.PutQuestion(sha256=_HASH, size=48_211),
    "artifacts.part": queries.PartQuestion(id="mV0w2Zq1", parts=[1, 2]),
    "artifacts.commit": queries.CommitQuestion(id="mV0w2Zq1"),
    "artifacts.get": queries.GetQuestion(run="k3x9qa", name="models/best.joblib"),
    "artifacts.list": queries.ArtifactsQuestion(run="k3x9qa"),
}
"""An example of each question."""


def _camel(words: str) -> str:
    first, *rest = words.split(".")
    return first + "".join(word.capitalize() for word in rest)


def _summary(body: type[object]) -> str:
    """What the docstring says, without the name that it begins with."""
    return " ".join((body.__doc__ or "").split()).replace("`", "")


_RUNS: Final = tuple(
    Channel(
        name=_camel(f"run.{event}"),
        address=subjects.run_event("{project}", "{run}", "{agent}", event),
        title=f"Run event {event}",
        summary=_summary(body),
        written_by="the bridge" if event == "crashed" else "SDK, command line and adapters",
        stream=subjects.LOG,
        headers=_ONCE,
        body=body,
        example=RUN_EXAMPLES[event],
        sends=event != "crashed",
    )
    for event, body in run_events.EVENTS.items()
)

_QUERIES: Final = tuple(
    Channel(
        name=_camel(f"ask.{verb}"),
        address=subjects.query("{project}", verb),
        title=f"Question {verb}",
        summary=f"Answered with {answer.__name__}: {_summary(answer)}",
        written_by="any agent, as a request",
        stream=None,
        body=question,
        example=QUESTION_EXAMPLES[verb],
        receives=False,
        answer=answer,
    )
    for verb, (question, answer) in queries.VERBS.items()
)

CHANNELS: Final = (*_COORDINATION, *_RUNS, *_QUERIES)
"""Every subject."""
