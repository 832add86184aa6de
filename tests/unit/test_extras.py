"""How tracecraft says that it is installed: from a clone, for it is on no package index."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from tracecraft_core import extras

ROOT = Path(__file__).parents[2]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
SOURCES = [
    path for folder in ("bridge", "cli", "deploy", "sdk", "tracecraft") for path in (ROOT / folder).rglob("*.py")
]


def test_what_is_told_can_be_typed() -> None:
    assert shlex.split(extras.install("bridge"))[:3] == ["pip", "install", ".[bridge]"]
    assert shlex.split(extras.install(pip="/opt/python -m pip install"))[3:5] == ["install", "."]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_tells_to_install_from_an_index_what_is_on_none(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"install [^\n]*tracecraft-nats|tracecraft-nats\[", text)
    told = re.findall(r"extras\.install\([\"'](.*?)[\"']", text)
    assert set(told) <= EXTRAS.keys()
