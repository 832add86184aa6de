"""Server URLs as people write them: several with commas, with or without a scheme, with secrets in them."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from tracecraft_core.errors import UsageError

SCHEMES: Final = ("nats", "tls", "ws", "wss")
"""What a NATS client can speak."""

_EXAMPLE: Final = "for example nats://127.0.0.1:4222"


def split(servers: str) -> tuple[str, ...]:
    """The servers of a list with commas; without a scheme ``nats://`` is meant."""
    parts = (part.strip() for part in servers.split(","))
    return tuple(part if "://" in part else f"nats://{part}" for part in parts if part)


def check(servers: str, origin: str) -> None:
    """Refuse what no client could connect to. Raises `UsageError`; ``origin`` says where the servers come from."""
    found = split(servers)
    if not found:
        raise UsageError(f"the server ({origin}) is empty: name one, {_EXAMPLE}")
    for server in found:
        problem = _problem(server)
        if problem:
            raise UsageError(f"server {without_secrets(server)!r} ({origin}): {problem}; {_EXAMPLE}")


def _problem(server: str) -> str | None:
    """What is wrong with a server. urllib's own words are not passed on: they may quote a password."""
    scheme = server.partition("://")[0]
    if scheme.lower() not in SCHEMES:
        return f"the scheme is none of {', '.join(SCHEMES)}"
    try:
        parts = urlsplit(server)
    except ValueError:
        return "the address is broken: an IPv6 address stands in brackets, as in nats://[::1]:4222"
    try:
        port = parts.port
    except ValueError:
        return "the port is not a number from 1 to 65535"
    if port == 0:
        return "the port is not a number from 1 to 65535"
    if not parts.hostname or re.search(r"[\s\x00-\x1f]", parts.hostname):
        return "there is no host in it" if not parts.hostname else "the host has a space in it"
    return None


def without_secrets(server: str) -> str:
    """A server without user, password or token, for messages to people. All before the last ``@`` counts as secret."""
    return re.sub(r"//.*@", "//", server)
