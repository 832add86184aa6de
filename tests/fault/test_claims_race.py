"""Many processes want the same work: every task has exactly one owner."""

from __future__ import annotations

import collections
import logging
from typing import TYPE_CHECKING

import pytest

from tests.fault.programs.handle import Program
from tracecraft import AsyncSession
from tracecraft_core import bodies, subjects
from tracecraft_core.bodies import TaskRecord
from tracecraft_core.pull import Puller, watcher_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tracecraft_stack.nats_server import NatsServer

logger = logging.getLogger(__name__)

ROUNDS = 8


@pytest.fixture(scope="module")
def racers(nats: NatsServer) -> Iterator[Program]:
    """Fifty agents in fifty processes, connected and waiting for the word."""
    with Program("racers", nats.url, "race", "unused", "claim", 50) as program:
        for _ in range(50):
            program.hear("ready", 60)
        yield program


@pytest.mark.parametrize("count", [2, 10, 50])
def test_of_many_processes_that_claim_one_task_at_once_exactly_one_wins(racers: Program, count: int) -> None:
    for round_ in range(ROUNDS):
        task = f"one-of-{count}.{round_}"
        racers.say(f"{count} {task}")
        answers = [racers.next() for _ in range(count)]
        kinds = collections.Counter(answer["event"] for answer in answers if answer)
        assert kinds == {"won": 1, "refused": count - 1} if count > 1 else {"won": 1}
        winner = next(answer["agent"] for answer in answers if answer and answer["event"] == "won")
        for answer in answers:
            if answer and answer["event"] == "refused":
                assert (answer["error"], answer["exit_code"], answer["owner"]) == ("TaskHeld", 3, winner)
                assert winner in answer["text"]
        racers.say(f"{count} go-on")
        for _ in range(count):
            racers.hear("through")


async def test_each_of_500_tasks_taken_by_20_processes_runs_exactly_once(
    nats: NatsServer, project: str, tmp_path: Path
) -> None:
    wanted = {f"job.{number}" for number in range(500)}
    async with AsyncSession(server=nats.url, project=project, agent="planner") as planner:
        for task in sorted(wanted):
            await planner.tasks.add(task)
        with Program("racers", nats.url, project, "unused", "drain", 20, tmp_path) as program:
            for _ in range(20):
                program.hear("ready", 60)
            program.say("20 go")
            endings = [program.hear("finished", 120) for _ in range(20)]
        seconds = max(ending["seconds"] for ending in endings)
        logger.info("500 tasks by 20 processes: %.2f s, %.0f tasks/s", seconds, 500 / seconds)
        written = journals(tmp_path)
        assert sorted(task for task, _ in written) == sorted(wanted)
        fences = {task: int(fence) for task, fence in written}
        history = await _task_changes(planner, project)
    for task in wanted:
        states = [(record.state, record.attempt) for record, _ in history[task]]
        assert states == [("open", 0), ("claimed", 1), ("done", 1)]
        assert history[task][1][1] == fences[task]


def journals(folder: Path) -> list[list[str]]:
    """What the processes have written down: task and fence."""
    return [line.split() for file in folder.iterdir() for line in file.read_text().splitlines()]


async def _task_changes(session: AsyncSession, project: str) -> dict[str, list[tuple[TaskRecord, int]]]:
    """Every change of every task as the log tells it, with the revision that the change had in the bucket."""
    changes: dict[str, list[tuple[TaskRecord, int]]] = collections.defaultdict(list)
    bus = session.context.bus
    async with Puller(bus, subjects.LOG, watcher_config([subjects.task_change(project, ">")], "all")) as puller:
        async for delivery in puller.backlog():
            stored = delivery.stored
            task = stored.subject.removeprefix(subjects.task_change(project, ""))
            revision = int(stored.headers[subjects.STREAM_SOURCE].split()[1])
            changes[task].append((bodies.decode(TaskRecord, stored.data, stored.subject), revision))
    return changes
