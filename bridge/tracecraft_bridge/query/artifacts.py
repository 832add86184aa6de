"""Verbs of the artifact store: where to put and where to fetch files, and which there are."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from tracecraft_bridge.artifacts.blobs import Blobs
from tracecraft_bridge.artifacts.errors import BadUpload, ObjectMissing, UploadRefused
from tracecraft_bridge.artifacts.uploads import Commits, Uploads
from tracecraft_bridge.query import runs
from tracecraft_bridge.query.pages import checked_limit, decode_cursor, encode_cursor, fitting
from tracecraft_bridge.query.refusal import bad_question, conflict, not_found
from tracecraft_bridge.query.values import moment
from tracecraft_core.queries import ArtifactRow, ArtifactsPage, Download

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracecraft_bridge.artifacts.blobs import Blob
    from tracecraft_bridge.database import Connection
    from tracecraft_bridge.query.asked import Asked
    from tracecraft_core.queries import (
        ArtifactsQuestion,
        CommitQuestion,
        Committed,
        GetQuestion,
        PartQuestion,
        PartUrls,
        PutQuestion,
        Upload,
    )

_COMMITS: Final = Commits()
_COLUMNS: Final = "name, sha256, size, media_type, kind, agent, time, run, step"


async def artifacts_put(asked: Asked, question: PutQuestion) -> Upload:
    """``artifacts.put``."""
    with _refusals("upload", ""):
        return await _uploads(asked).begin(question.sha256, question.size, question.media_type)


async def artifacts_part(asked: Asked, question: PartQuestion) -> PartUrls:
    """``artifacts.part``."""
    with _refusals("upload", question.id):
        return await _uploads(asked).part_urls(question.id, question.parts)


async def artifacts_commit(asked: Asked, question: CommitQuestion) -> Committed:
    """``artifacts.commit``."""
    with _refusals("upload", question.id):
        return await _COMMITS.run(_uploads(asked), question.id)


async def artifacts_get(asked: Asked, question: GetQuestion) -> Download:
    """``artifacts.get``: any content by its hash, or a file of a run of this project by its name."""
    if (question.sha256 is None) == (question.run is None or question.name is None):
        raise bad_question("which file?", "give sha256, or run and name")
    async with asked.pool.snapshot() as connection:
        if question.sha256 is not None:
            sha256, name, media_type = question.sha256, question.name, None
        else:
            assert question.run is not None
            sha256, name, media_type = await _named(connection, asked.project, question.run, str(question.name))
        blob = await Blobs(asked.store).find(connection, sha256)
    with _refusals("content", sha256):
        if blob is None:
            raise ObjectMissing(sha256)
        damaged = question.failed and await _is_damaged(asked, blob, question.place)
        url = await asked.store.get_url(blob.object_key, name=name, media_type=media_type)
    known = {} if media_type is None else {"media_type": media_type}
    return Download(
        sha256=sha256, size=blob.size, url=url.url, expires=url.expires, name=name, damaged=damaged, **known
    )


async def artifacts_list(asked: Asked, question: ArtifactsQuestion) -> ArtifactsPage:
    """``artifacts.list``: of a run by name, of the project newest first."""
    limit = checked_limit(question.limit)
    async with asked.pool.snapshot() as connection:
        if question.run is None:
            rows = await _newest(connection, asked.project, question.cursor, limit + 1)
        else:
            run = await runs.resolve(connection, asked.project, question.run)
            rows = await _of_run(connection, asked.project, run, question.cursor, limit + 1)
    fit = fitting([_row(row) for row in rows[:limit]])
    if len(fit) == len(rows):
        return ArtifactsPage(artifacts=fit)
    last = fit[-1]
    place = (last.time, last.run, last.name) if question.run is None else (last.name,)
    return ArtifactsPage(artifacts=fit, next=encode_cursor(*place))


async def _is_damaged(asked: Asked, blob: Blob, place: int) -> bool:
    """Of a content whose download failed: whether it is to blame and not the store, which is noted."""
    if place >= blob.size or await asked.store.gives(blob.object_key, place):
        return False
    async with asked.pool.connection() as connection:
        await Blobs(asked.store).doubt(connection, blob)
    return True


def _uploads(asked: Asked) -> Uploads:
    return Uploads(asked.project, asked.pool, asked.store, Blobs(asked.store))


@contextmanager
def _refusals(kind: str, name: str) -> Iterator[None]:
    try:
        yield
    except BadUpload as error:
        raise bad_question(error.reason, error.hint) from None
    except UploadRefused as error:
        raise conflict(error.reason, error.hint) from None
    except ObjectMissing as error:
        raise not_found(kind, name or error.name, "put it again" if kind == "upload" else "") from None


async def _named(connection: Connection, project: str, run: str, name: str) -> tuple[str, str, str]:
    run = await runs.resolve(connection, project, run)
    cursor = await connection.execute(
        "SELECT sha256, name, media_type FROM artifact WHERE project = %s AND run = %s AND name = %s",
        (project, run, name),
    )
    row = await cursor.fetchone()
    if row is None:
        raise not_found("artifact", name, await _what_there_is(connection, project, run))
    return row[0], row[1], row[2]


async def _what_there_is(connection: Connection, project: str, run: str) -> str:
    rows = await _of_run(connection, project, run, None, 6)
    if not rows:
        return f"{run} has no artifacts"
    return f"{run} has {', '.join(row[0] for row in rows[:5])}{', …' if len(rows) > 5 else ''}"


async def _of_run(
    connection: Connection, project: str, run: str, cursor: str | None, limit: int
) -> list[tuple[Any, ...]]:
    (after,) = decode_cursor(cursor, str) if cursor else ("",)
    found = await connection.execute(
        f"SELECT {_COLUMNS} FROM artifact WHERE project = %s AND run = %s AND name > %s ORDER BY name LIMIT %s",
        (project, run, after, limit),
    )
    return await found.fetchall()


async def _newest(connection: Connection, project: str, cursor: str | None, limit: int) -> list[tuple[Any, ...]]:
    where, place = "", ()
    if cursor:
        where, place = "AND (time, run, name) < (%s, %s, %s)", decode_cursor(cursor, datetime, str, str)
    found = await connection.execute(
        f"SELECT {_COLUMNS} FROM artifact WHERE project = %s {where} ORDER BY time DESC, run DESC, name DESC LIMIT %s",
        (project, *place, limit),
    )
    return await found.fetchall()


def _row(row: tuple[Any, ...]) -> ArtifactRow:
    name, sha256, size, media_type, kind, agent, time, run, step = row
    return ArtifactRow(
        name=name, sha256=sha256, size=size, media_type=media_type, kind=kind,
        agent=agent, time=moment(time), run=run, step=step,
    )  # fmt: skip
