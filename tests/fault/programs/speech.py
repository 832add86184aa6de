"""How a program answers: one line of JSON for each thing that happened."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracecraft_core.errors import TracecraftError


def tell(event: str, **facts: Any) -> None:
    """Write a line in one piece, so that forked siblings on the same pipe do not mix theirs."""
    line = json.dumps({"event": event, "at": time.time(), **facts}) + "\n"
    os.write(sys.stdout.fileno(), line.encode())


def facts_of(error: TracecraftError) -> dict[str, Any]:
    """What an error says and means."""
    attributes = ("task", "owner", "state", "expires_in", "since")
    return {
        "error": type(error).__name__,
        "exit_code": error.exit_code,
        "text": str(error),
        **{name: getattr(error, name) for name in attributes if hasattr(error, name)},
    }
