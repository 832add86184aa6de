"""A filter on the database holds for the runs for which it holds when it is read by hand."""

from __future__ import annotations

import asyncio
import datetime
import json
import math
import re
import secrets
from operator import eq, ge, gt, le, lt, ne
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracecraft_bridge.database import connect
from tracecraft_bridge.filters import conditions
from tracecraft_bridge.filters.grammar import parse
from tracecraft_bridge.filters.sql import compiled
from tracecraft_bridge.schema import migrate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tracecraft_bridge.filters.conditions import Condition, Value
    from tracecraft_bridge.filters.fields import Field
    from tracecraft_stack.postgres import PostgresServer

Database = psycopg.Connection[tuple[Any, ...]]
NOW = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC)
WORDS = ["a", "b", "ab", "A b", "b_%", "1", "0.5", "x" * 199 + "1", "x" * 199 + "2", "x" * 205, "ü"]
NUMBERS = [-1.0, 0.0, 0.5, 1.0, 1e300, math.inf, -math.inf, math.nan]


class Run(NamedTuple):
    """A run as the test knows it."""

    name: str
    status: str
    started: datetime.datetime
    ended: datetime.datetime | None
    cost: float | None
    branch: str | None
    dirty: bool | None
    params: dict[str, object]
    tags: dict[str, str]
    metrics: dict[str, float]
    agents: dict[str, str | None]


MOMENTS = st.sampled_from([NOW - datetime.timedelta(hours=hours) for hours in (0, 1, 2, 30)])
KEYS = st.sampled_from(["k", "a.b", "ü /"])
RUNS = st.builds(
    Run,
    name=st.sampled_from(WORDS),
    status=st.sampled_from(["running", "finished", "failed"]),
    started=MOMENTS,
    ended=st.none() | MOMENTS,
    cost=st.none() | st.sampled_from([0.0, 0.5, 1.0]),
    branch=st.none() | st.sampled_from(WORDS),
    dirty=st.none() | st.booleans(),
    params=st.dictionaries(KEYS, st.sampled_from([*WORDS, 0.5, 1, True, None]), max_size=3),
    tags=st.dictionaries(KEYS, st.sampled_from(WORDS), max_size=3),
    metrics=st.dictionaries(KEYS, st.sampled_from(NUMBERS), max_size=3),
    agents=st.dictionaries(st.sampled_from(["a", "ab", "b"]), st.none() | st.sampled_from(WORDS), max_size=2),
)

_TEXTUAL = ["name", "git.branch", "tags.{}", "agent.name", "agent.model", "params.{}"]
_NUMERIC = ["cost", "metrics.{}", "params.{}"]


@st.composite
def single(draw: st.DrawFn) -> str:
    """A single condition as text."""
    key = draw(KEYS)
    kind = draw(st.sampled_from(["text", "pattern", "number", "status", "flag", "time", "null", "nan"]))
    textual = draw(st.sampled_from(_TEXTUAL)).format(f"`{key}`")
    numeric = draw(st.sampled_from(_NUMERIC)).format(f"`{key}`")
    order = draw(st.sampled_from(["=", "!=", "<", "<=", ">", ">="]))
    words = [
        json.dumps(word, ensure_ascii=False) for word in draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=3))
    ]
    numbers = [repr(number) for number in draw(st.lists(st.sampled_from(NUMBERS[:-1]), min_size=1, max_size=3))]
    among = draw(st.sampled_from(["in", "not in"]))
    several = draw(st.booleans())
    if kind == "text":
        return f"{textual} {among} ({', '.join(words)})" if several else f"{textual} {order} {words[0]}"
    if kind == "pattern":
        pattern = draw(st.sampled_from(["%", "a%", "%b", "_", "A%", "x_%2", ""]))
        return f'{textual} {draw(st.sampled_from(["like", "not like", "ilike", "not ilike"]))} "{pattern}"'
    if kind == "number":
        return f"{numeric} {among} ({', '.join(numbers)})" if several else f"{numeric} {order} {numbers[0]}"
    if kind == "status":
        return f"status {draw(st.sampled_from(['=', '!=']))} {draw(st.sampled_from(['running', 'FAILED']))}"
    if kind == "flag":
        return f"git.dirty {draw(st.sampled_from(['=', '!=']))} {draw(st.sampled_from(['true', 'false']))}"
    if kind == "time":
        return (
            f"{draw(st.sampled_from(['started', 'ended']))} {order} {draw(st.sampled_from(['1h ago', 'today', 'now']))}"
        )
    if kind == "nan":
        return f"{draw(st.sampled_from(['metrics', 'params']))}.`{key}` is {draw(st.sampled_from(['', 'not ']))}nan"
    return f"{draw(st.sampled_from([textual, numeric, 'ended']))} is {draw(st.sampled_from(['', 'not ']))}null"


FILTERS = st.recursive(
    single(),
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("not ({})".format, inner),
    ),
    max_leaves=6,
)

COMPARE: dict[str, Callable[[Any, Any], bool]] = {"=": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}


def holds(condition: Condition, run: Run) -> bool:
    """Whether a filter holds, read by hand."""
    match condition:
        case conditions.All(parts):
            return all(holds(part, run) for part in parts)
        case conditions.Any(parts):
            return any(holds(part, run) for part in parts)
        case conditions.Not(part):
            return not holds(part, run)
        case conditions.Present(field):
            return bool(values(field, run))
        case conditions.IsNan(field):
            return any(isinstance(value, float) and math.isnan(value) for value in numbers(field, run))
        case conditions.Comparison(field, operator, given):
            return any(fulfils(field, value, operator, given) for value in values(field, run))


def fulfils(field: Field, value: Any, operator: str, given: tuple[Value, ...]) -> bool:
    if operator.endswith("in"):
        return any(fulfils(field, value, "=", (one,)) for one in given) != operator.startswith("not")
    if operator.endswith("like"):
        pattern = "".join({"%": ".*", "_": "."}.get(sign, re.escape(sign)) for sign in str(given[0]))
        flags = re.DOTALL | (re.IGNORECASE if "ilike" in operator else 0)
        return bool(re.fullmatch(pattern, text_of(value), flags)) != operator.startswith("not")
    if field.kind == "either":
        value = text_of(value) if isinstance(given[0], str) else number_of(value)
        if value is None:
            return operator == "!="
    return COMPARE[operator](value, given[0])


def values(field: Field, run: Run) -> list[Any]:
    """All that a run has of a field."""
    one = {
        "name": run.name,
        "status": run.status,
        "started": run.started,
        "ended": run.ended,
        "cost": run.cost,
        "git.branch": run.branch,
        "git.dirty": run.dirty,
    }
    keyed: dict[str, dict[str, Any]] = {"params": run.params, "tags": run.tags, "metrics.last": run.metrics}
    if field.key is not None:
        return [keyed[field.name][field.key]] if field.key in keyed[field.name] else []
    found: list[Any]
    if field.name.startswith("agent."):
        found = list(run.agents) if field.name == "agent.name" else list(run.agents.values())
    else:
        found = [one[field.name]]
    return [value for value in found if value is not None]


def numbers(field: Field, run: Run) -> list[float | None]:
    return [number_of(value) for value in values(field, run)]


def text_of(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def number_of(value: object) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(value)  # type: ignore[arg-type]
    except ValueError:
        return None


@pytest.fixture(scope="module")
def database(bridge_postgres: PostgresServer) -> Iterator[Database]:
    """An empty database with the tables; what a test writes is rolled back by it."""
    bridge_postgres.resume()
    bridge_postgres.start()
    name = f"f{secrets.token_hex(4)}"
    with psycopg.connect(bridge_postgres.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    dsn = bridge_postgres.dsn.rpartition("/")[0] + f"/{name}"

    async def make() -> None:
        async with await connect(dsn, "test") as made:
            await migrate(made)

    asyncio.run(make())
    with psycopg.connect(dsn) as connection:
        yield connection


def write(database: Database, runs: list[Run]) -> None:
    """The rows that the bridge makes of such runs."""
    with database.cursor() as cursor:
        for number, run in enumerate(runs):
            cursor.execute(
                "INSERT INTO run (project, run, name, status, agent, started, ended, heard, epoch, first_seq, "
                "last_seq, cost, git_branch, git_dirty) VALUES ('p', %s, %s, %s, 'x', %s, %s, %s, 1, 1, 1, %s, %s, %s)",
                (str(number), *run[:3], run.ended, run.started, run.cost, run.branch, run.dirty),
            )
        each = [(str(number), run) for number, run in enumerate(runs)]
        cursor.executemany(
            "INSERT INTO run_param VALUES ('p', %s, %s, %s, %s, %s)",
            [(n, k, json.dumps(v), text_of(v), number_of(v)) for n, run in each for k, v in run.params.items()],
        )
        cursor.executemany(
            "INSERT INTO run_tag VALUES ('p', %s, %s, %s)", [(n, *pair) for n, run in each for pair in run.tags.items()]
        )
        cursor.executemany(
            "INSERT INTO metric_latest (project, run, key, agent, value, step, time, first, sum, points) "
            "VALUES ('p', %s, %s, '', %s, 1, now(), 0, 0, 1)",
            [(n, *pair) for n, run in each for pair in run.metrics.items()],
        )
        cursor.executemany(
            "INSERT INTO run_agent (project, run, agent, model, status, started, first_seq) "
            "VALUES ('p', %s, %s, %s, 'ok', now(), 1)",
            [(n, *pair) for n, run in each for pair in run.agents.items()],
        )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(RUNS, min_size=1, max_size=6), st.lists(FILTERS, min_size=1, max_size=8))
def test_a_filter_finds_the_runs_for_which_it_holds(database: Database, runs: list[Run], texts: list[str]) -> None:
    try:
        write(database, runs)
        for text in texts:
            condition = parse(text, NOW)
            assert condition is not None
            sql, bound = compiled(condition)
            rows = database.execute(
                f"SELECT r.run FROM run r WHERE r.project = 'p' AND {sql}".encode(), bound
            ).fetchall()
            wanted = {str(number) for number, run in enumerate(runs) if holds(condition, run)}
            assert {run for (run,) in rows} == wanted, text
    finally:
        database.rollback()
