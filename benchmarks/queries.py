"""Questions to the bridge over NATS, on 100,000 runs, a run of 100,000 steps and one of 1,000,000 points.

The rows are written with SQL: what is measured is the way from a question to its answer. Targets: a page of runs 50 ms,
a plot 200 ms, get and outline together 1 s.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import uvloop

from benchmarks.report import milliseconds
from tracecraft_core import subjects, topology
from tracecraft_core.bus import Bus
from tracecraft_core.transport import ServerOptions
from tracecraft_stack.bridge import BridgeServer
from tracecraft_stack.nats_server import NatsServer
from tracecraft_stack.postgres import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Mapping

PROJECT = "bench"
TIMES = 30
RUNS, STEPS, POINTS = 100_000, 100_000, 1_000_000

SEED_RUNS = """
INSERT INTO run (project, run, name, status, agent, started, ended, heard, epoch, first_seq, last_seq, cost, steps)
SELECT 'bench', 'r' || lpad(n::text, 7, '0'), (ARRAY['base', 'wide', 'deep'])[1 + n % 3] || '-' || n % 50,
       CASE WHEN n > {runs} - 20 THEN 'running' WHEN n % 20 = 0 THEN 'failed' ELSE 'finished' END,
       'agent-' || n % 10, at, CASE WHEN n <= {runs} - 20 THEN at + interval '5 min' END, at + interval '5 min',
       1, n * 10, n * 10 + 9, CASE WHEN n % 4 > 0 THEN random() * 3 END, 10
FROM (SELECT n, now() - ({runs} - n) * interval '1 min' AS at FROM generate_series(1, {runs}) n) n;
INSERT INTO run_param (project, run, key, value, text, number)
SELECT 'bench', 'r' || lpad(n::text, 7, '0'), k, to_jsonb(v), v::text, v
FROM generate_series(1, {runs}) n, LATERAL (VALUES ('lr', (ARRAY[0.1, 0.01, 0.001, 0.0001])[1 + n % 4]::float8),
     ('seed', n::float8), ('depth', (n % 12)::float8), ('batch', (2 ^ (n % 8))::float8)) p(k, v);
INSERT INTO run_tag (project, run, key, value)
SELECT 'bench', 'r' || lpad(n::text, 7, '0'), k, v
FROM generate_series(1, {runs}) n, LATERAL (VALUES ('team', (ARRAY['a', 'b', 'c', 'd'])[1 + n / 7 % 4]),
     ('sweep', 's' || n / 500)) t(k, v);
INSERT INTO metric_latest (project, run, key, agent, value, step, time, first, min, max, sum, points)
SELECT 'bench', 'r' || lpad(n::text, 7, '0'), k, '', v, 100, now(), 1, v, 1, 50, 100
FROM (SELECT n, random() AS x, random() AS y FROM generate_series(1, {runs}) n) n,
     LATERAL (VALUES ('loss', x), ('accuracy', 1 - x * y), ('time', y * 100), ('epoch', 100::float8)) m(k, v);
INSERT INTO run_agent (project, run, agent, model, role, status, started, first_seq, steps)
SELECT 'bench', 'r' || lpad(n::text, 7, '0'), a, 'm1', 'worker', 'ok', now(), n * 10, 5
FROM generate_series(1, {runs}) n, LATERAL (VALUES ('critic'), ('writer')) x(a);
"""
SEED_LONG = """
INSERT INTO step (project, run, step, agent, parent, kind, name, status, started, ended, duration_us, epoch, first_seq,
                  last_seq, input_preview, output_preview, time)
SELECT 'bench', 'r0000001', lpad(to_hex(n), 16, '0'), 'agent-' || n / 1000 % 5,
       CASE WHEN n % 1000 = 0 THEN NULL WHEN n % 10 = 0 THEN lpad(to_hex(n / 1000 * 1000), 16, '0')
            ELSE lpad(to_hex(n / 10 * 10), 16, '0') END,
       CASE WHEN n % 10 = 3 THEN 'llm' ELSE 'tool_call' END,
       CASE WHEN n % 1000 = 0 THEN 'iteration ' || n / 1000 WHEN n % 10 = 0 THEN 'plan' ELSE 'call ' || n % 10 END,
       CASE WHEN n % 997 = 0 THEN 'error' ELSE 'ok' END, now() + n * interval '1 ms', now() + n * interval '1 ms',
       1000 + n % 500, 1, n * 2, n * 2 + 1, repeat('in ', 30), repeat('out ', 30), now()
FROM generate_series(1, {steps}) n;
INSERT INTO cost_entry (project, run, agent, step, epoch, seq, time, model, input_tokens, cache_read_tokens,
                        cache_write_tokens, output_tokens, reasoning_tokens, amount, currency, cause, counted)
SELECT 'bench', 'r0000001', 'agent-' || n / 1000 % 5, lpad(to_hex(n), 16, '0'), 1, n * 2, now(), 'm1',
       1000, 0, 0, 200, 0, 0.002, 'USD', 'original', true
FROM generate_series(3, {steps}, 10) n;
INSERT INTO metric_chunk (project, run, key, agent, epoch, seq, time, steps, times, vals)
SELECT 'bench', 'r0000002', 'loss', 'a', 1, n, now(), array_agg(n * 1000 + i ORDER BY i),
       array_agg(1767225600000000 + (n * 1000 + i) * 1000 ORDER BY i), array_agg(1.0 / (1 + n * 1000 + i) ORDER BY i)
FROM generate_series(0, {points} / 1000 - 1) n, generate_series(0, 999) i GROUP BY n;
INSERT INTO metric_bucket (project, run, key, agent, width, bucket, points, min, max, sum, first, last, first_time,
                           last_time)
SELECT 'bench', 'r0000002', 'loss', '', w, n / w, count(*), min(1.0 / (1 + n)), max(1.0 / (1 + n)), sum(1.0 / (1 + n)),
       min(1.0 / (1 + n)), max(1.0 / (1 + n)), now(), now()
FROM generate_series(0, {points} - 1) n, unnest(ARRAY[64, 1024, 32768]) w GROUP BY w, n / w;
UPDATE metric_latest SET points = {points}, step = {points} - 1 WHERE run = 'r0000002' AND key = 'loss';
ANALYZE;
"""

LISTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one metric, half of them": {"filter": "metrics.loss < 0.5"},
    "one metric, few of them": {"filter": "metrics.loss < 0.0005"},
    "param and tag": {"filter": 'params.lr = 0.001 and tags.team = "a"'},
    "param that one run has": {"filter": "params.seed = 41234"},
    "metric and param and agent": {"filter": 'metrics.accuracy > 0.99 and params.depth = 3 and agent.name ~ "crit"'},
    "nothing matches": {"filter": 'tags.team = "z" and metrics.loss < 0.5'},
    "or of two tables": {"filter": 'tags.sweep = "s3" or params.seed < 20'},
    "not": {"filter": 'not tags.team = "a" and status = failed'},
    "name like": {"filter": 'name like "deep-4%"'},
    "sorted by a metric": {"sort": "metrics.loss"},
    "sorted by a metric, down, filtered": {
        "sort": "-metrics.accuracy",
        "filter": "params.lr = 0.001 and metrics.loss < 0.2",
    },
    "sorted by a param": {"sort": "params.seed"},
    "sorted by cost": {"sort": "-cost"},
    "sorted by name": {"sort": "name"},
}


def main(argv: list[str]) -> None:
    """Seed and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks queries")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--keep", action="store_true", help="wait for Enter before the servers stop")
    chosen = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="tc-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with (
            NatsServer(folder / "nats") as nats,
            PostgresServer(folder / "postgres", password=secrets.token_hex(8)) as postgres,
        ):
            _run(_prepare(nats.url))
            settings = {"TRACECRAFT_SERVER": nats.url, "TRACECRAFT_POSTGRES": postgres.dsn}
            with BridgeServer(folder / "bridge", settings=settings):
                began = time.perf_counter()
                _seed(postgres.dsn, chosen.runs)
                print(f"{chosen.runs:,} runs, {STEPS:,} steps, {POINTS:,} points: {time.perf_counter() - began:.0f} s")
                if chosen.keep:
                    print(nats.url, postgres.dsn, flush=True)
                _run(_measure(nats.url))
                if chosen.keep:
                    input()


def _run(work: Any) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


async def _prepare(url: str) -> None:
    async with Bus(ServerOptions(servers=(url,))) as bus:
        await topology.ensure(bus)


def _seed(dsn: str, runs: int) -> None:
    with psycopg.connect(dsn, autocommit=True) as database:
        for script in (SEED_RUNS, SEED_LONG):
            for statement in script.format(runs=runs, steps=STEPS, points=POINTS).split(";\n"):
                if statement.strip():
                    database.execute(statement.encode())
        database.execute("VACUUM")


async def _measure(url: str) -> None:
    async with Bus(ServerOptions(servers=(url,))) as bus:
        for name, question in LISTS.items():
            await _timed(bus, f"runs.list {name}", "runs.list", question, 50)
        for name in ("plain", "sorted by a metric"):
            cursor = await _deep(bus, LISTS[name], pages=100)
            question = {**LISTS[name], "limit": 100, "cursor": cursor}
            await _timed(bus, f"runs.list {name}, page 100", "runs.list", question, 50)
        for points in (500, 2000):
            plot = {"run": "r0000002", "keys": ["loss"], "points": points}
            await _timed(bus, f"runs.plot {points} of 1,000,000", "runs.plot", plot, 200)
        await _timed(bus, "runs.points a page", "runs.points", {"run": "r0000002", "key": "loss"}, 200)
        await _timed(bus, "runs.get of 100,000 steps", "runs.get", {"run": "r0000001"}, 500)
        await _timed(bus, "runs.outline of 100,000 steps", "runs.outline", {"run": "r0000001"}, 500)
        await _timed(bus, "runs.steps a page", "runs.steps", {"run": "r0000001"}, 50)
        await _timed(bus, "runs.steps errors", "runs.steps", {"run": "r0000001", "errors": True}, 50)
        await _timed(bus, "cost by agent", "cost", {}, 200)


async def _deep(bus: Bus, question: Mapping[str, Any], pages: int) -> str | None:
    cursor: str | None = None
    for _ in range(pages):
        cursor = (await _ask(bus, "runs.list", {**question, "cursor": cursor}))[0]["next"]
        if cursor is None:
            break
    return cursor


async def _timed(bus: Bus, shown: str, verb: str, question: Mapping[str, Any], target: int) -> None:
    took, size, first = [], 0, 0.0
    for number in range(TIMES + 1):
        began = time.perf_counter()
        answer, size = await _ask(bus, verb, question)
        if number:
            took.append(time.perf_counter() - began)
        else:
            first = time.perf_counter() - began
    rows = max(len(answer.get(name) or ()) for name in ("runs", "steps", "groups", "points", "rows"))
    print(
        f"{shown:48} target {target:3} ms: {milliseconds(took)}, first {first * 1000:.0f} ms; "
        f"{rows} rows, {size:,} bytes",
        flush=True,
    )


async def _ask(bus: Bus, verb: str, question: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    reply = await bus.transport.request(subjects.query(PROJECT, verb), json.dumps(question).encode(), timeout=30)
    answer: dict[str, Any] = json.loads(reply.data)
    if "Nats-Service-Error" in (reply.headers or {}):
        raise SystemExit(f"{verb} {question}: {answer}")
    return answer, len(reply.data)
