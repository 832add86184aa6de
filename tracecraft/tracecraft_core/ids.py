"""Fresh identifiers: 22 characters of ``A-Za-z0-9_-``, unguessable and usable as a token of a subject."""

from __future__ import annotations

import secrets


def fresh() -> str:
    """A new identifier with 128 random bits."""
    return secrets.token_urlsafe(16)
