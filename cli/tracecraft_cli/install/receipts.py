"""Into which coding agents tracecraft was installed: so that the last one to leave takes the shared files away."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from tracecraft_cli.install import place
from tracecraft_cli.install.plan import Remove, Write

if TYPE_CHECKING:
    from pathlib import Path

_FILE: Final = "installed.json"


def path() -> Path:
    """The file of the receipts."""
    return place.folder() / _FILE


def read() -> list[dict[str, Any]]:
    """All of them; a file that is no list of ours counts as none."""
    try:
        found = json.loads(path().read_bytes())
    except (OSError, ValueError):
        return []
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def made(agent: str, home: Path, **more: str) -> dict[str, Any]:
    """The receipt of an install."""
    return {"agent": agent, "home": str(home), **more}


def with_one(receipt: dict[str, Any]) -> list[Write]:
    """What writes a receipt down; nothing when it is there."""
    known = read()
    return [] if receipt in known else [_as_write([*known, receipt])]


def without(receipt: dict[str, Any]) -> tuple[list[Write | Remove], list[dict[str, Any]]]:
    """What takes a receipt back, and those that are left."""
    known = read()
    rest = [one for one in known if one != receipt]
    if rest == known:
        return [], rest
    return ([_as_write(rest)] if rest else [Remove(path())]), rest


def _as_write(receipts: list[dict[str, Any]]) -> Write:
    return Write(path(), (json.dumps(receipts, indent=2) + "\n").encode())
