"""``runs.plot`` and ``runs.points``: curves from the roll-ups, and points as they came."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, Final

from tracecraft_bridge.query import runs
from tracecraft_bridge.query.pages import checked_limit, decode_cursor, encode_cursor, fitting
from tracecraft_bridge.query.refusal import bad_question
from tracecraft_bridge.query.values import moment, number
from tracecraft_core.queries import Curve, Plot, PointsPage

if TYPE_CHECKING:
    from tracecraft_bridge.database import Connection
    from tracecraft_bridge.query.asked import Asked
    from tracecraft_core.queries import PlotQuestion, PointsQuestion

MAX_POINTS: Final = 2_000
"""Most points of a curve."""
MAX_KEYS: Final = 100
"""Most curves of one question."""
MOST_POINTS: Final = 6_000
"""Points of all the curves of an answer: it must fit into one message."""
READ_RAW: Final = 20_000
"""Points up to which a curve is made of the points themselves."""
READ_BUCKETS: Final = 8_000
"""Buckets of one width that are read for a curve, at most, while a coarser width is there."""
WIDTHS: Final = (64, 1024, 32768)
_LARGE: Final = 1e200
"""Sums from here on are scaled before they are added up, since PostgreSQL refuses a total that no float can hold."""
_SCALE: Final = 2.0**64

_RAW: Final = """
    FROM metric_chunk c, unnest(c.steps, c.times, c.vals) AS p(step, at, value)
    WHERE c.project = %s AND c.run = %s AND c.key = %s AND (%s = '' OR c.agent = %s)
"""
_BUCKETS: Final = """
    FROM metric_bucket WHERE project = %s AND run = %s AND key = %s AND agent = %s AND width = %s
"""


async def runs_plot(asked: Asked, question: PlotQuestion) -> Plot:
    """``runs.plot``. A key that the run does not have is a curve without points."""
    if not 2 <= question.points <= MAX_POINTS:
        raise bad_question(f"points is {question.points}", f"a curve has 2 to {MAX_POINTS} points")
    if not 1 <= len(question.keys) <= MAX_KEYS:
        raise bad_question(f"{len(question.keys)} keys", f"ask for 1 to {MAX_KEYS} of them")
    if question.points * len(question.keys) > MOST_POINTS:
        hint = f"{len(question.keys)} keys at {MOST_POINTS // len(question.keys)} points, or fewer keys at a time"
        raise bad_question(f"{len(question.keys)} keys at {question.points} points do not fit into an answer", hint)
    async with asked.pool.snapshot() as connection:
        run = await runs.resolve(connection, asked.project, question.run)
        curves = [
            await _curve(connection, (asked.project, run, key, question.agent), question.points)
            for key in question.keys
        ]
    return Plot(curves=curves)


async def _curve(connection: Connection, which: tuple[str, str, str, str], points: int) -> Curve:
    logged = await _count(connection, which)
    if logged <= READ_RAW:
        return await _from_points(connection, which, points, logged)
    for width in WIDTHS:
        buckets = await _count_buckets(connection, which, width)
        if buckets <= READ_BUCKETS or width == WIDTHS[-1]:
            return await _from_buckets(connection, which, points, width)
    raise AssertionError


async def _count(connection: Connection, which: tuple[str, str, str, str]) -> int:
    cursor = await connection.execute(
        "SELECT points FROM metric_latest WHERE project = %s AND run = %s AND key = %s AND agent = %s", which
    )
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def _count_buckets(connection: Connection, which: tuple[str, str, str, str], width: int) -> int:
    cursor = await connection.execute(
        f"SELECT count(*) FROM (SELECT {_BUCKETS} LIMIT %s) b".encode(), (*which, width, READ_BUCKETS + 1)
    )
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def _from_points(connection: Connection, which: tuple[str, str, str, str], points: int, logged: int) -> Curve:
    bound = (*which, which[3])
    if logged <= points:
        cursor = await connection.execute(
            f"SELECT p.step, p.value, p.value, p.value, p.at / 1e6 {_RAW} ORDER BY p.step, p.at".encode(), bound
        )
        return _made(which[2], True, await cursor.fetchall())
    finite = "CASE WHEN p.value > '-Infinity' AND p.value < 'Infinity' THEN p.value END"
    source = (
        f"SELECT step, number AS sum, (number IS NOT NULL)::int AS n, number AS min, number AS max, at "
        f"FROM (SELECT p.step, {finite} AS number, p.at / 1e6 AS at {_RAW}) points"
    )
    return await _reduced(connection, which[2], source, bound, points)


async def _from_buckets(connection: Connection, which: tuple[str, str, str, str], points: int, width: int) -> Curve:
    return await _reduced(
        connection,
        which[2],
        f"SELECT bucket * width AS step, sum, points - nans AS n, min, max, "
        f"extract(epoch FROM first_time) AS at {_BUCKETS}",
        (*which, width),
        points,
    )


async def _reduced(connection: Connection, key: str, source: str, bound: tuple[object, ...], points: int) -> Curve:
    """Rows of a source taken together to at most so many ranges of steps of the same width."""
    cursor = await connection.execute(
        f"""
        WITH source AS MATERIALIZED ({source}),
             ends AS MATERIALIZED (
                 SELECT min(step)::numeric AS low, greatest(max(step)::numeric - min(step) + 1, %s) AS span FROM source)
        SELECT min(step), sum(CASE WHEN abs(sum) < {_LARGE} THEN sum END),
               sum(CASE WHEN abs(sum) >= {_LARGE} THEN sum / {_SCALE} END), sum(n), min(min), max(max), min(at)
        FROM source, ends GROUP BY floor((step - low) * %s / span) ORDER BY 1
        """.encode(),
        (*bound, points, points),
    )
    found = await cursor.fetchall()
    return _made(key, False, [(row[0], _mean(*row[1:6]), *row[4:]) for row in found])


def _mean(small: float | None, large: float | None, count: Any, least: float | None, most: float | None) -> Any:
    """Of sums added up apart, the large ones scaled; PostgreSQL raises where Python has 0 or infinity."""
    if least is None or most is None:
        return None
    mean = (small or 0.0) / int(count) + (large or 0.0) / int(count) * _SCALE
    return min(max(mean, least), most)


def _made(key: str, raw: bool, rows: list[tuple[Any, ...]]) -> Curve:
    """A range without any number is NaN."""
    nan = float("nan")
    values = [[number(nan if row[place] is None else row[place]) for row in rows] for place in (1, 2, 3)]
    return Curve(
        key=key,
        raw=raw,
        steps=[row[0] for row in rows],
        mean=values[0],
        min=values[1],
        max=values[2],
        times=[_when(row[4]) for row in rows],
    )


def _when(seconds: Any) -> str:
    return moment(
        datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(microseconds=round(seconds * 10**6))
    )


async def runs_points(asked: Asked, question: PointsQuestion) -> PointsPage:
    """``runs.points``."""
    limit = checked_limit(question.limit)
    epoch, seq, place = decode_cursor(question.cursor, int, int, int) if question.cursor else (0, 0, 0)
    async with asked.pool.snapshot() as connection:
        run = await runs.resolve(connection, asked.project, question.run)
        cursor = await connection.execute(
            """
            SELECT c.epoch, c.seq, p.place, p.step, p.value, p.at, c.agent
            FROM (SELECT * FROM metric_chunk WHERE project = %s AND run = %s AND key = %s AND (epoch, seq) >= (%s, %s)
                  ORDER BY epoch, seq LIMIT %s) c,
                 unnest(c.steps, c.times, c.vals) WITH ORDINALITY AS p(step, at, value, place)
            WHERE (c.epoch, c.seq, p.place) > (%s, %s, %s) ORDER BY 1, 2, 3 LIMIT %s
            """,
            (asked.project, run, question.key, epoch, seq, limit + 2, epoch, seq, place, limit + 1),
        )
        found = await cursor.fetchall()
    points = [(row[3], number(row[4]), _when(row[5] / 10**6), row[6]) for row in found[:limit]]
    fit = fitting(points)
    goes_on = len(fit) < len(points) or len(found) > limit
    return PointsPage(points=fit, next=encode_cursor(*found[len(fit) - 1][:3]) if goes_on else None)
