"""A plan file as it is given: a path, or '-' for standard input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tracecraft_core.errors import UsageError

if TYPE_CHECKING:
    from tracecraft_core.plans import PlannedTask


def load(file: str) -> list[PlannedTask]:
    """Its tasks, dependencies first. Raises `UsageError` for a file that cannot be read, `InvalidPlan`."""
    from tracecraft_core import plans

    source = "standard input" if file == "-" else file
    try:
        text = sys.stdin.buffer.read().decode() if file == "-" else Path(file).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{source} is not UTF-8 text") from None
    except OSError as error:
        raise UsageError(f"{source} cannot be read: {error.strerror}") from None
    return plans.parse(text, source)
