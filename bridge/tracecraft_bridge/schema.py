"""The tables: numbered SQL files, each applied once, in order, by one bridge at a time."""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING, Final, NamedTuple

from tracecraft_core.errors import TracecraftError

if TYPE_CHECKING:
    from tracecraft_bridge.database import Connection

MIGRATION_LOCK: Final = 0x7463_6D69
"""Key of the advisory lock of migrations (``tcmi``)."""

_NAME: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")


class Migration(NamedTuple):
    """One SQL file."""

    version: int
    name: str
    sql: str


class SchemaTooNew(TracecraftError):
    """The database was migrated by a newer bridge. Attributes: ``found``, ``known`` (versions)."""

    def __init__(self, found: int, known: int) -> None:
        super().__init__(
            f"the database is at schema version {found} and this bridge knows {known}: run the newer bridge"
        )
        self.found, self.known = found, known


def migrations() -> list[Migration]:
    """All migrations, in order."""
    found = []
    for file in resources.files("tracecraft_bridge").joinpath("migrations").iterdir():
        name = _NAME.fullmatch(file.name)
        if name:
            found.append(Migration(int(name.group(1)), name.group(2), file.read_text(encoding="utf-8")))
    return sorted(found)


async def migrate(connection: Connection) -> list[Migration]:
    """Apply what is missing, all of it or nothing; returns what was applied. Raises `SchemaTooNew`."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migration "
            "(version integer PRIMARY KEY, name text NOT NULL, applied timestamptz NOT NULL DEFAULT now())"
        )
        missing = await _missing(connection)
        for migration in missing:
            await connection.execute(migration.sql)
            await connection.execute(
                "INSERT INTO schema_migration (version, name) VALUES (%s, %s)", (migration.version, migration.name)
            )
    return missing


async def _missing(connection: Connection) -> list[Migration]:
    known = migrations()
    cursor = await connection.execute("SELECT version FROM schema_migration")
    applied = {version for (version,) in await cursor.fetchall()}
    if applied and max(applied) > known[-1].version:
        raise SchemaTooNew(max(applied), known[-1].version)
    return [migration for migration in known if migration.version not in applied]
