"""The environment of the children: none of them may be led elsewhere by a variable of the caller."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from tracecraft_stack.ports import LOOPBACK

if TYPE_CHECKING:
    from pathlib import Path

KEPT: Final = ("PATH", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE")

ADDRESSES: Final = ("TRACECRAFT_", "NATS_", "PG", "AWS_")
"""Beginnings of variables that say where a server is and how to log in there: the caller's, not the stack's."""

BRIDGE_SETTINGS: Final = (
    "TRACECRAFT_BRIDGE_",
    "TRACECRAFT_RETENTION",
    "TRACECRAFT_RUN_RETENTION",
    "TRACECRAFT_TRIM_AGE",
    "TRACECRAFT_HOUSEKEEPING",
    "TRACECRAFT_BLOB_GRACE",
    "TRACECRAFT_BUNDLE_SEED",
    "TRACECRAFT_OTLP_PROJECT",
    "TRACECRAFT_OTLP_SILENCE",
    "TRACECRAFT_S3_BUCKET",
    "TRACECRAFT_S3_URL_EXPIRY",
    "TRACECRAFT_S3_PUBLIC_ENDPOINT",
)
"""Beginnings of variables that the caller sets for the bridge of this stack."""


def bare_environment(home: Path) -> dict[str, str]:
    """What a server may see of the caller's environment; its home is its own folder."""
    return {name: os.environ[name] for name in KEPT if name in os.environ} | {"HOME": str(home), "LC_ALL": "C"}


def bridge_environment() -> dict[str, str]:
    """The caller's environment without addresses and logins, and with no proxy between the servers of the stack."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(BRIDGE_SETTINGS) or not name.startswith(ADDRESSES)
    }
    direct = ",".join(filter(None, (os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), LOOPBACK)))
    return kept | {"NO_PROXY": direct, "no_proxy": direct}
