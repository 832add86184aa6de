"""A project name of its own for every test, so that tests share a server without meeting."""

from __future__ import annotations

import secrets

import pytest


@pytest.fixture
def project() -> str:
    """A fresh project name like ``t1a2b3c4d``."""
    return f"t{secrets.token_hex(4)}"
