"""What recording costs an agent framework, with the bus up, away, slow, silent and full: times with us over without us.

Needs the environments of ``make test-integrations``. The model is a stub on loopback, so a run takes some milliseconds
and what we add shows; a real model takes seconds. In the end all runs must be in the database, whatever the bus did.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.gate import Gate
from tests.support.proxy import Proxy
from tests.support.stub_model import StubModel, Usage, call, say

import tracecraft
from benchmarks.report import percentile
from tracecraft.recording.takeover import deliver_spools
from tracecraft_core import subjects
from tracecraft_core.bus import Bus
from tracecraft_core.settings import load
from tracecraft_core.transport import ServerOptions
from tracecraft_stack import Stack, StackOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
FRAMEWORKS = ("langgraph", "pydantic_ai", "openai_agents")
RUNS = 60
SLOW_S = 0.2


def main(_: list[str]) -> None:
    """Each framework that has an environment, under each condition."""
    there = [name for name in FRAMEWORKS if (ROOT / ".venvs" / name).is_dir()]
    if not there:
        print("no environments: run 'make test-integrations' once")
        return
    with (
        tempfile.TemporaryDirectory(prefix="tc-") as folder,
        Stack(StackOptions(data=Path(folder) / "stack", artifacts=False)) as stack,
        StubModel() as model,
    ):
        model.answer(
            lambda request: say("3", ONE) if request.results else call("add", {"a": 1, "b": 2}, ONE),
            system="Alice",
            forever=True,
        )
        model.answer(say("yes", ONE), system="Bob", forever=True)
        print(f"{RUNS} runs each; of a run p50 and p99, the ratio of the p50s, what the end of the program waited")
        for name in there:
            _framework(name, stack, model, Path(folder))


ONE = Usage(input=100, output=10)


def _framework(name: str, stack: Stack, model: StubModel, folder: Path) -> None:
    for condition in ("up", "away", "slow", "silent", "full"):
        project = f"{name}-{condition}"
        spool = folder / "spool" / project
        with _condition(condition, stack) as server:
            without = _run(name, "without", server, project, model, spool)
            told = _run(name, "with", server, project, model, spool)
        arrived = _arrived(stack, project, spool)
        half, full = percentile(without["took"], 0.5), percentile(told["took"], 0.5)
        same = "the same answers" if told["answers"] == without["answers"] else "OTHER ANSWERS"
        print(
            f"{name:<14} {condition:<7} without {half * 1e3:6.1f} {percentile(without['took'], 0.99) * 1e3:6.1f} ms   "
            f"with {full * 1e3:6.1f} {percentile(told['took'], 0.99) * 1e3:6.1f} ms   x{full / half:4.2f}   "
            f"end +{told['end']:4.1f} s   {same}, {arrived} runs arrived",
            flush=True,
        )


def _run(name: str, how: str, server: str, project: str, model: StubModel, spool: Path) -> dict[str, Any]:
    ours = {"SERVER": server, "PROJECT": project, "AGENT": "bench", "SPOOL": str(spool)}
    environment = {
        **os.environ,
        **{f"TRACECRAFT_{key}": value for key, value in ours.items()},
        "OPENAI_BASE_URL": model.openai_url,
        "OPENAI_API_KEY": "stub",
        "NO_PROXY": "127.0.0.1",
    }
    program = [str(ROOT / ".venvs" / name / "bin" / "python"), str(ROOT / "benchmarks" / "framework_team.py")]
    done = subprocess.run(
        [*program, name, how, str(RUNS)], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@contextmanager
def _condition(condition: str, stack: Stack) -> Iterator[str]:
    url = stack.state.nats_url
    if condition == "away":
        with Gate(url) as gate:
            yield gate.url
    elif condition in ("slow", "silent"):
        with _proxy(url, condition) as slow:
            yield slow
    elif condition == "full":
        _limit(url, 1)
        try:
            yield url
        finally:
            _limit(url, -1)
    else:
        yield url


@contextmanager
def _proxy(url: str, condition: str) -> Iterator[str]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    proxy = asyncio.run_coroutine_threadsafe(_entered(Proxy(url)), loop).result()
    if condition == "slow":
        proxy.delay = SLOW_S
    else:
        loop.call_soon_threadsafe(proxy.swallow)
    try:
        yield proxy.url
    finally:
        asyncio.run_coroutine_threadsafe(proxy.__aexit__(None, None, None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


async def _entered(proxy: Proxy) -> Proxy:
    return await proxy.__aenter__()


def _limit(url: str, messages: int) -> None:
    """Make the log full, or not."""

    async def update() -> None:
        async with Bus(ServerOptions(servers=(url,))) as bus:
            config = (await bus.api(f"STREAM.INFO.{subjects.LOG}"))["config"]
            await bus.api(f"STREAM.UPDATE.{subjects.LOG}", {**config, "max_msgs": messages})

    asyncio.run(update())


def _arrived(stack: Stack, project: str, spool: Path) -> int:
    """How many runs are there and whole, after what lay in the spool is delivered."""
    chosen = load({"server": stack.state.nats_url, "project": project, "agent": "reader"})
    asyncio.run(deliver_spools(chosen, where=spool))
    with tracecraft.Session(resolved=chosen) as session:
        return len([row for row in session.runs.list(limit=1000) if session.runs.verify(row.run).complete])
