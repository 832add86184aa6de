"""``runs.verify``: is everything of a run there, once, and is it what it was?"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracecraft_bridge.artifacts.blobs import Blobs
from tracecraft_bridge.artifacts.errors import ObjectDamaged, ObjectMissing
from tracecraft_bridge.bundles.extent import extent
from tracecraft_bridge.bundles.fetching import fetch
from tracecraft_bridge.bundles.making import find
from tracecraft_bridge.query import runs
from tracecraft_bridge.query.refusal import not_found
from tracecraft_bridge.query.state import refusals
from tracecraft_core import subjects
from tracecraft_core.bundle.reader import BundleReader
from tracecraft_core.errors import Damaged
from tracecraft_core.queries import RunVerification, WriterReport

if TYPE_CHECKING:
    from tracecraft_bridge.bundles.extent import Extent
    from tracecraft_bridge.database import Connection
    from tracecraft_bridge.query.asked import Asked
    from tracecraft_core.queries import VerifyQuestion

MOST = 1_000
"""Problems and gaps that an answer names."""


async def runs_verify(asked: Asked, question: VerifyQuestion) -> RunVerification:
    """``runs.verify``; it reports and never repairs."""
    blobs = Blobs(asked.store)
    async with asked.pool.connection() as connection:
        run = await runs.resolve(connection, asked.project, question.run)
        about = await extent(connection, asked.project, run)
        if about is None:
            raise not_found("run", run, "it was deleted meanwhile")
        facts = await _facts(connection, about)
        hashes = await _hashes(connection, about)
        with refusals():
            missing = await blobs.missing(connection, hashes) if hashes else []
            wrong = await blobs.damaged(connection, hashes) if question.deep and hashes else []
            bundle = await _bundle(connection, blobs, about)
    unfinished = [writer.writer for writer in facts.writers if writer.final is None]
    whole = not (unfinished or facts.problems or facts.gaps or missing or wrong or any(map(_lacks, facts.writers)))
    return RunVerification(
        run=run,
        status=facts.status,
        complete=whole and facts.status != "running" and bundle in ("ok", None),
        writers=facts.writers,
        unfinished=unfinished,
        problems=facts.problems,
        gaps=facts.gaps,
        missing_blobs=missing,
        damaged_blobs=wrong,
        bundle=bundle,
        entries=facts.entries,
    )


def _lacks(writer: WriterReport) -> bool:
    return bool(writer.missing or writer.dropped) or (writer.final or 0) > writer.last_number


class _Facts:
    """What the tables say."""

    status: str
    writers: list[WriterReport]
    problems: list[tuple[int, str, str]]
    gaps: list[tuple[int, int, str]]
    entries: int


async def _facts(connection: Connection, about: Extent) -> _Facts:
    facts = _Facts()
    names = about.project, list(about.runs)
    row = await _all(connection, "SELECT status FROM run WHERE project = %s AND run = %s", about.project, about.run)
    facts.status = row[0][0]
    facts.writers = await _writers(connection, about)
    facts.problems = [
        (seq, subject, problem)
        for seq, subject, problem in await _all(
            connection,
            "SELECT seq, subject, problem FROM run_problem WHERE project = %s AND run = ANY(%s) "
            f"ORDER BY epoch, seq LIMIT {MOST}",
            *names,
        )
    ]
    facts.problems += await _twice(connection, about)
    facts.gaps = await _gaps(connection, about)
    counted = "SELECT coalesce(sum(events), 0)::bigint FROM run WHERE project = %s AND run = ANY(%s)"
    facts.entries = (await _all(connection, counted, *names))[0][0]
    return facts


async def _twice(connection: Connection, about: Extent) -> list[tuple[int, str, str]]:
    """Steps that were begun again after their end: the projection asks for ended ones only where it must."""
    found = await _all(
        connection,
        "SELECT max(first_seq), run, max(agent), step FROM step WHERE project = %s AND run = ANY(%s) "
        f"GROUP BY run, step HAVING count(*) > 1 ORDER BY 1 LIMIT {MOST}",
        *(about.project, list(about.runs)),
    )
    return [
        (seq, subjects.run_event(about.project, run, agent, "step.started"), f"step {step} has ended before")
        for seq, run, agent, step in found
    ]


async def _writers(connection: Connection, about: Extent) -> list[WriterReport]:
    names = about.project, list(about.runs)
    holes: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for run, writer, first, last in await _all(
        connection,
        "SELECT run, writer, first_number, last_number FROM run_hole WHERE project = %s AND run = ANY(%s) "
        "ORDER BY first_number",
        *names,
    ):
        holes.setdefault((run, writer), []).append((first, last))
    found = await _all(
        connection,
        "SELECT run, writer, agent, received, last_number, final, duplicates, dropped FROM run_writer "
        "WHERE project = %s AND run = ANY(%s) ORDER BY run, agent, writer",
        *names,
    )
    hosts = await _hosts(connection, about)
    return [
        WriterReport(
            writer=writer,
            agent=agent,
            received=received,
            last_number=last,
            final=final,
            missing=holes.get((run, writer), []),
            duplicates=duplicates,
            dropped=dropped,
            host=hosts.get((run, writer)),
        )
        for run, writer, agent, received, last, final, duplicates, dropped in found
    ]


async def _hosts(connection: Connection, about: Extent) -> dict[tuple[str, str], str]:
    """By run and writer that never ended, the machine that its first event names."""
    found = await _all(
        connection,
        "SELECT w.run, w.writer, l.host FROM run_writer w JOIN LATERAL ("
        "SELECT body->'origin'->>'host' AS host FROM log WHERE project = w.project AND run = w.run "
        "AND family = 'run' AND event IN ('started', 'joined') AND headers->>'Nats-Msg-Id' = w.writer || ':1' "
        "ORDER BY epoch, seq LIMIT 1) l ON l.host <> '' "
        "WHERE w.project = %s AND w.run = ANY(%s) AND w.final IS NULL",
        *(about.project, list(about.runs)),
    )
    return {(run, writer): host for run, writer, host in found}


async def _gaps(connection: Connection, about: Extent) -> list[tuple[int, int, str]]:
    """Holes of the log itself within the run."""
    epochs = [epoch for epoch, _, _ in about.epoch.spans]
    return [
        (first, last, reason)
        for first, last, reason in await _all(
            connection,
            "SELECT first_seq, last_seq, reason FROM gap WHERE stream = %s AND epoch = ANY(%s) "
            f"AND first_seq <= %s AND last_seq >= %s ORDER BY first_seq LIMIT {MOST}",
            *(subjects.LOG, epochs, about.last_seq, about.first_seq),
        )
    ]


async def _hashes(connection: Connection, about: Extent) -> list[str]:
    """Contents that the run speaks of."""
    names = about.project, list(about.runs)
    found = await _all(
        connection,
        "SELECT sha256 FROM artifact WHERE project = %s AND run = ANY(%s) UNION "
        "SELECT unnest(ARRAY[input_blob, output_blob]) FROM step WHERE project = %s AND run = ANY(%s) "
        "AND (input_blob IS NOT NULL OR output_blob IS NOT NULL) UNION "
        "SELECT unnest(ARRAY[input_blob, output_blob]) FROM step_open WHERE project = %s AND run = ANY(%s)",
        *(*names, *names, *names),
    )
    return sorted(sha256 for (sha256,) in found if sha256 is not None)


async def _bundle(connection: Connection, blobs: Blobs, about: Extent) -> str | None:
    """``ok``, what is wrong with the bundle, or ``None`` without one."""
    known = await find(connection, about.project, about.run)
    if known is None:
        return None
    with tempfile.TemporaryDirectory(prefix="tracecraft-verify-") as folder:
        path = Path(folder) / "run.tcb"
        try:
            await fetch(connection, blobs, known.sha256, path)
        except ObjectMissing:
            return "the artifact store has lost it"
        except ObjectDamaged as error:
            return error.problem
        return await asyncio.to_thread(_problem, path, known.root)


def _problem(path: Path, root: str) -> str:
    try:
        with BundleReader.open(path) as reader:
            problems = reader.verify()
            if not problems and reader.manifest.root != root:
                problems = [f"its root is {reader.manifest.root}, not {root}"]
    except Damaged as error:
        return error.problem
    return "; ".join(problems[:10]) or "ok"


async def _all(connection: Connection, query: str, *values: object) -> list[tuple[Any, ...]]:
    return await (await connection.execute(query, values)).fetchall()
