"""The programs on a framework's page of the docs, run as they stand: ``run_page("langgraph")``."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

PAGES: Final = Path(__file__).parents[2] / "docs" / "integrations"
_PROGRAM: Final = re.compile(r"^```python in=\w+$(.*?)^```$", re.MULTILINE | re.DOTALL)


def programs(page: str) -> list[str]:
    """The blocks ``python in=FRAMEWORK`` of a page, in order."""
    return [found.strip() for found in _PROGRAM.findall((PAGES / f"{page}.md").read_text(encoding="utf-8"))]


def run_page(page: str, *, seconds: float = 120) -> list[str]:
    """Run each program of a page by this interpreter, in this environment, and tell what each printed."""
    printed = []
    for program in programs(page):
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=seconds, check=False
        )
        assert done.returncode == 0, f"{page}: {program}\n{done.stdout}\n{done.stderr}"
        printed.append(done.stdout)
    assert printed, f"{page}: no program"
    return printed
