"""What a coding agent's commands would do to its settings: seen by running them on a copy, before it is done."""

from __future__ import annotations

import difflib
import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tracecraft_cli.install import bundle, parsed, place, program

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracecraft_cli.install.plan import Rehearsed, Run, Write

_STATE: Final = ("plugins/known_marketplaces.json", "plugins/installed_plugins.json")
"""What else Claude Code reads when it installs or removes."""


def changes(rehearsed: Rehearsed, runs: Sequence[Run], writes: Sequence[Write]) -> list[str]:
    """The lines that the commands take from the settings (``- …``) and put into them (``+ …``).

    The folder to install from is made for the rehearsal too, since commands look into it. Raises `AgentFailed`.
    """
    with tempfile.TemporaryDirectory(prefix="tracecraft-", dir=_outside()) as name:
        stage = Path(name)
        copy = stage / "home" / rehearsed.inside
        copy.parent.mkdir()
        before = parsed.text_of(rehearsed.settings)
        if before:
            shutil.copyfile(rehearsed.settings, copy)
        _copy_state(rehearsed.settings.parent, copy.parent)
        source = _stage(stage, writes)
        environment = {key: value.format(folder=copy.parent) for key, value in rehearsed.environment.items()}
        for run in runs:
            argv = [word.replace(str(bundle.root(bundle.MARKETPLACE)), str(source)) for word in run.argv]
            program.ask(argv, environment=environment, folder=stage)
        after = parsed.text_of(copy).replace(str(source), str(bundle.root(bundle.MARKETPLACE)))
    if rehearsed.form == "json":  # Claude Code may order and indent anew; that is no news
        before, after = _ordered(before), _ordered(after)
    return difference(before, after)


def difference(before: str, after: str) -> list[str]:
    """Lines that go and lines that come, without those that stay: they may hold secrets."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return [f"{line[0]} {line[1:]}" for line in lines if not line.startswith(("---", "+++", "@@"))]


def _stage(stage: Path, writes: Sequence[Write]) -> Path:
    """The folder to install from, as it will be."""
    real, source = bundle.root(bundle.MARKETPLACE), stage / "marketplace"
    if real.is_dir():
        shutil.copytree(real, source)
    for write in writes:
        if real in write.path.parents:
            path = source / write.path.relative_to(real)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(write.content)
    return source


def _copy_state(real: Path, copy: Path) -> None:
    for name in _STATE:
        if (real / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(real / name, copy / name)


def _outside() -> str | None:
    """Codex complains of a home in the system's folder for temporary files."""
    folder = place.folder().parent.parent
    return str(folder) if folder.is_dir() else None


def _ordered(text: str) -> str:
    return json.dumps(json.loads(text), indent=2, sort_keys=True, ensure_ascii=False) if text.strip() else ""
