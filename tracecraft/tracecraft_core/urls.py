"""Server URLs as people write them: several with commas, with or without a scheme, with secrets in them."""

from __future__ import annotations

import re


def split(servers: str) -> tuple[str, ...]:
    """The servers of a list with commas; without a scheme ``nats://`` is meant."""
    parts = (part.strip() for part in servers.split(","))
    return tuple(part if "://" in part else f"nats://{part}" for part in parts if part)


def without_secrets(server: str) -> str:
    """A server without user, password or token, for messages to people. All before the last ``@`` counts as secret."""
    return re.sub(r"//.*@", "//", server)
