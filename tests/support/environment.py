"""A clean environment: what the engineer has configured at home must not decide a test."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRUBBED = ("TRACECRAFT_", "NATS_", "XDG_", "AWS_", "PG")
"""Variables with these beginnings are removed for the session."""


@pytest.fixture(scope="session", autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No settings of tracecraft, NATS, PostgreSQL or S3, and an empty home."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(SCRUBBED)]:
            patch.delenv(name)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield
