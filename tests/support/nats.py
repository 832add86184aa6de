"""NATS servers: one for the session that tests share by project name, and one for a test that wants to hurt it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from tests.support.folder import short_lived_folder
from tracecraft_stack.nats_server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def nats() -> Iterator[NatsServer]:
    """The server of the session; ``nats.url`` has its token. Do not stop it: other tests use it."""
    with short_lived_folder() as folder, NatsServer(folder, token=secrets.token_hex(8)) as server:
        yield server


@pytest.fixture
def own_nats(server_folder: Path) -> Iterator[NatsServer]:
    """A server of this test alone: kill, pause and restart it as you like."""
    with NatsServer(server_folder / "nats", token=secrets.token_hex(8)) as server:
        yield server
        server.resume()
