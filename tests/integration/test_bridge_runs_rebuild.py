"""The projections made again from the log are what they were, however the log was cut into transactions."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.run_log import RandomLog, run_log

if TYPE_CHECKING:
    from tracecraft_stack.postgres import PostgresServer


@pytest.fixture
def dsn(bridge_postgres: PostgresServer) -> str:
    bridge_postgres.resume()
    bridge_postgres.start()
    name = f"r{secrets.token_hex(4)}"
    with psycopg.connect(bridge_postgres.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return bridge_postgres.dsn.rpartition("/")[0] + f"/{name}"


@pytest.mark.parametrize(("seed", "batch"), [(1, 7), (2, 100), (3, 1500)])
async def test_a_rebuild_gives_every_row_again(dsn: str, seed: int, batch: int) -> None:
    async with run_log(dsn) as log:
        await log.write(RandomLog(seed).make(1_500), batch)
        lived = await log.tables()
        assert all(lived[table] for table in lived if table != "run_hole"), {t: len(r) for t, r in lived.items()}
        await log.connection.execute("UPDATE projection SET version = 0, epoch = NULL")
        await log.rebuild()
        again = await log.tables()
        for table, rows in lived.items():
            assert again[table] == rows, table
