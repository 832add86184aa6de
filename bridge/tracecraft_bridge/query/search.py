"""``runs.search``: steps whose name, input, output or error has a text in it, the newest first.

All that was recorded is read, as the log has it: an index of every three letters would cost more, on every write, than
the half second that 75,000 steps take. Values that went to the artifact store are searched in their beginning only.
"""

from __future__ import annotations

import datetime
import json
from typing import TYPE_CHECKING, Any, Final

from tracecraft_bridge.query import runs
from tracecraft_bridge.query.pages import checked_limit, decode_cursor, encode_cursor, fitting
from tracecraft_bridge.query.refusal import bad_question
from tracecraft_bridge.query.values import moment
from tracecraft_core.queries import SearchHit, SearchPage

if TYPE_CHECKING:
    from tracecraft_bridge.database import Connection
    from tracecraft_bridge.query.asked import Asked
    from tracecraft_core.queries import SearchQuestion

LONGEST: Final = 500
"""Characters of a text that is looked for."""
BEFORE: Final = 60
SNIPPET: Final = 240
"""Characters of a snippet, and how many of them stand before what was found."""

_WHERE: Final = {"step.started": "name", "step.input": "input", "step.output": "output", "step.ended": "error"}

# What a person reads of an event: a text bare, any other value as JSON, of a blob its beginning.
_TEXT: Final = """
    CASE l.event WHEN 'step.started' THEN l.body->>'name' WHEN 'step.ended' THEN l.body->'error'->>'message'
    ELSE coalesce(CASE jsonb_typeof(l.body->'value') WHEN 'string' THEN l.body->>'value' WHEN 'null' THEN NULL
                  ELSE ({value})::text END, l.body->'blob'->>'preview') END
"""
_WHOLE: Final = "l.body->'value'"
# A model call of a mirrored session repeats what it asked of tools, and heard: both stand in steps of their own.
_UNREPEATED: Final = """
    CASE WHEN jsonb_typeof(l.body->'value') = 'object'
              AND (l.body->'value') - '{text,thinking,tool_calls}'::text[] = '{}'::jsonb
         THEN (l.body->'value') - 'tool_calls' ELSE l.body->'value' END
"""
_HEARD: Final = """
    l.event = 'step.input' AND CASE jsonb_typeof(l.body->'value')
        WHEN 'array' THEN l.body->'value'->0 ?& '{role,text}'
        ELSE starts_with(l.body->'blob'->>'preview', '[{"role":') END
"""
_FOUND: Final = """
    WITH hit AS MATERIALIZED (
        SELECT l.epoch, l.seq, l.run, l.event, l.body->>'step' AS step, {text} AS text
        FROM log_current l
        WHERE l.project = %(project)s AND l.family = 'run' AND l.event = ANY(%(events)s)
          AND ({text}) ILIKE ANY(%(patterns)s) {more}
          AND EXISTS (SELECT FROM run r WHERE r.project = l.project AND r.run = l.run)
        ORDER BY l.epoch DESC, l.seq DESC LIMIT %(limit)s
    )
    SELECT h.epoch, h.seq, h.run, r.name, t.value, h.step, h.event,
           coalesce(s.agent, o.agent), coalesce(s.name, o.name), coalesce(s.kind, o.kind), coalesce(s.status, 'open'),
           coalesce(s.started, o.started), h.text
    FROM hit h JOIN run r ON r.project = %(project)s AND r.run = h.run
    LEFT JOIN run_tag t ON t.project = r.project AND t.run = h.run AND t.key = 'source'
    LEFT JOIN LATERAL (
        SELECT * FROM step WHERE project = %(project)s AND run = h.run AND step = h.step LIMIT 1
    ) s ON true
    LEFT JOIN step_open o ON o.project = r.project AND o.run = h.run AND o.step = h.step
    ORDER BY h.epoch DESC, h.seq DESC
"""
_OF_SESSIONS: Final = f"""
    AND EXISTS (SELECT FROM run_tag g WHERE g.project = l.project AND g.run = l.run AND g.key = 'session')
    AND ({_HEARD}) IS NOT TRUE
"""


async def runs_search(asked: Asked, question: SearchQuestion) -> SearchPage:
    """``runs.search``."""
    limit = checked_limit(question.limit)
    if not 0 < len(question.text) <= LONGEST:
        raise bad_question(f"a text of {len(question.text)} characters", f"1 to {LONGEST} are looked for")
    async with asked.pool.snapshot() as connection:
        rows = await _read(connection, asked.project, question, limit + 1)
    hits = [_hit(row, question.text) for row in rows[:limit]]
    fit = fitting(hits)
    goes_on = len(fit) < len(hits) or len(rows) > limit
    return SearchPage(hits=fit, next=encode_cursor(*rows[len(fit) - 1][:2]) if goes_on else None)


async def _read(connection: Connection, project: str, question: SearchQuestion, limit: int) -> list[tuple[Any, ...]]:
    values: dict[str, Any] = {"project": project, "limit": limit, "patterns": _patterns(question.text)}
    values["events"] = list(_WHERE)
    more = _OF_SESSIONS if question.sessions else ""
    if question.run is not None:
        more += " AND l.run = %(run)s"
        values["run"] = await runs.resolve(connection, project, question.run)
    if question.agent is not None:
        more += " AND l.agent = %(agent)s"
        values["agent"] = question.agent
    if question.since is not None:
        more += " AND l.time >= %(since)s"
        values["since"] = _time(question.since)
    if question.cursor:
        more += " AND (l.epoch, l.seq) < (%(epoch)s, %(seq)s)"
        values["epoch"], values["seq"] = decode_cursor(question.cursor, int, int)
    text = _TEXT.format(value=_UNREPEATED if question.sessions else _WHOLE)
    cursor = await connection.execute(_FOUND.format(text=text, more=more).encode(), values)
    return await cursor.fetchall()


def _patterns(text: str) -> list[str]:
    """The text, and as it is spelled inside of JSON, where that differs.

    A database with the locale C knows capitals of ASCII only: other letters are looked for in both cases.
    """
    cases = [text] if text.isascii() else [text, text.lower(), text.upper()]
    spelled = [json.dumps(one, ensure_ascii=False)[1:-1] for one in cases]
    return [f"%{_plain(one)}%" for one in dict.fromkeys((*cases, *spelled))]


def _plain(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _hit(row: tuple[Any, ...], wanted: str) -> SearchHit:
    _, seq, run, title, source, step, event, agent, name, kind, status, started, text = row
    return SearchHit(
        run=run,
        title=title,
        source=source,
        step=step or "",
        agent=agent or "",
        name=name or "",
        kind=kind or "other",
        status=status,
        started=moment(started),
        where=_WHERE[event],
        snippet=_snippet(text, wanted),
        seq=seq,
    )


def _snippet(text: str, wanted: str) -> str:
    """The text around the place, cut at both ends."""
    low = text.lower()
    at = low.find(wanted.lower())
    if at < 0:
        at = max(0, low.find(json.dumps(wanted, ensure_ascii=False)[1:-1].lower()))
    start = max(0, at - BEFORE)
    cut = text[start : start + SNIPPET]
    return f"{'…' if start else ''}{cut}{'…' if start + SNIPPET < len(text) else ''}"


def _time(text: str) -> datetime.datetime:
    try:
        since = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise bad_question(f"since is no time: {text!r}", "for example 2026-11-22T19:30:00Z") from None
    return since.replace(tzinfo=datetime.UTC) if since.tzinfo is None else since
