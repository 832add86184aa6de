"""Whole stacks for the session, started when a test first asks: one without SeaweedFS, which is slow, one with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.folder import short_lived_folder
from tracecraft_stack import Stack, StackOptions
from tracecraft_stack.ports import DEFAULT_PORTS, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def _off_the_defaults(folder: Path) -> None:
    """Give a stack ports of its own, as if from last time: of two that start together, both would find one free."""
    ports: dict[str, int] = {}
    for name in DEFAULT_PORTS:
        ports[name] = free_port(ports.values())
    (folder / "ports.json").write_text(json.dumps(ports))


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """nats-server, PostgreSQL and the bridge; ``stack.state`` has the addresses. Do not hurt it: others use it."""
    with short_lived_folder() as folder:
        _off_the_defaults(folder)
        with Stack(StackOptions(data=folder, artifacts=False, fsync=False)) as running:
            yield running


@pytest.fixture(scope="session")
def stack_with_artifacts() -> Iterator[Stack]:
    """The same with SeaweedFS: takes up to 8 s to start."""
    with short_lived_folder() as folder:
        _off_the_defaults(folder)
        with Stack(StackOptions(data=folder, fsync=False)) as running:
            yield running


@pytest.fixture
def bare_options() -> Iterator[StackOptions]:
    """Options for a stack of one test's own, nats-server and PostgreSQL only: ``with Stack(bare_options) as stack``."""
    with short_lived_folder() as folder:
        yield StackOptions(data=folder / "data", artifacts=False, bridge=False, fsync=False)
