"""The environment of the children: servers get next to nothing, so that no variable of the caller changes them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

KEPT: Final = ("PATH", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE")


def bare_environment(home: Path) -> dict[str, str]:
    """What a server may see of the caller's environment; its home is its own folder."""
    return {name: os.environ[name] for name in KEPT if name in os.environ} | {"HOME": str(home), "LC_ALL": "C"}
