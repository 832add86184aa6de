"""Fresh identifiers, each usable as a token of a subject."""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import Final

_TYPABLE: Final = "23456789abcdefghjkmnpqrstuvwxyz"
"""Without what is mistaken for something else."""


def fresh() -> str:
    """A new identifier with 128 random bits: 22 characters of ``A-Za-z0-9_-``."""
    return secrets.token_urlsafe(16)


def run(now: float | None = None) -> str:
    """A new run's id, sortable by time and short enough to type: ``20261122-193415-k3x9qa`` (UTC)."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    return f"{stamp}-{''.join(secrets.choice(_TYPABLE) for _ in range(6))}"


def step() -> str:
    """A new step's id: 16 hexadecimal digits, not all zero, as a span id of W3C trace context must be."""
    return f"{secrets.randbits(64) or 1:016x}"


def trace(project: str, run: str) -> str:
    """The W3C trace id of a run that was started without one: 32 hexadecimal digits."""
    return hashlib.sha256(f"{project}/{run}".encode()).hexdigest()[:32]
