"""NATS contexts, as the ``nats`` command keeps them (ADR-21): ``~/.config/nats/context/<name>.json``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from tracecraft_core.errors import UsageError

_FIELDS: Final = {
    "url": "server",
    "token": "token",
    "user": "user",
    "password": "password",
    "creds": "creds",
    "nkey": "nkey",
    "ca": "tls_ca",
    "cert": "tls_cert",
    "key": "tls_key",
    "inbox_prefix": "inbox_prefix",
    "jetstream_domain": "js_domain",
    "jetstream_api_prefix": "js_prefix",
}
"""Fields of a context that we use, and the settings that they become."""


def folder() -> Path:
    """Where contexts live."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "nats"


def selected() -> str | None:
    """The context chosen with ``nats context select``, if there is one."""
    try:
        name = (folder() / "context.txt").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return name or None


def read(name: str) -> dict[str, str]:
    """The settings of a context. Raises `UsageError` when it does not exist or is broken."""
    path = folder() / "context" / f"{name}.json"
    if "/" in name or "\\" in name or name.startswith("."):
        raise UsageError(f"NATS context {name!r}: not a name")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"NATS context {name!r}: no file {path}") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"NATS context {name!r}: {path} cannot be read ({error})") from None
    if not isinstance(content, dict):
        raise UsageError(f"NATS context {name!r}: {path} is not a JSON object")
    found = {ours: str(content[theirs]) for theirs, ours in _FIELDS.items() if content.get(theirs)}
    if content.get("tls_first"):
        found["tls_first"] = "true"
    if "server" not in found:
        raise UsageError(f"NATS context {name!r}: {path} has no url")
    return found
