"""How wide a line may be."""

from __future__ import annotations

import shutil


def columns() -> int:
    """Characters in a line: the terminal's, or 120 where there is none."""
    return shutil.get_terminal_size((120, 24)).columns
