"""What a coding agent's commands would do to its settings: seen by running them on a copy, before it is done."""

from __future__ import annotations

import difflib
import json
import shutil
from typing import TYPE_CHECKING

from tracecraft_cli.install import bundle, copied, parsed, program

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tracecraft_cli.install.plan import Rehearsed, Run, Write


def changes(rehearsed: Rehearsed, runs: Sequence[Run], writes: Sequence[Write]) -> list[str]:
    """The lines that the commands take from the settings (``- …``) and put into them (``+ …``).

    The folder to install from is made for the rehearsal too, since commands look into it. Raises `AgentFailed`.
    """
    before = parsed.text_of(rehearsed.settings)
    with copied.folder(rehearsed.settings.parent, rehearsed.reads) as home:
        stage, copy = home.parent, home / rehearsed.settings.name
        source = _stage(stage, writes)
        environment = {key: value.format(folder=home) for key, value in rehearsed.environment.items()}
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


def _ordered(text: str) -> str:
    return json.dumps(json.loads(text), indent=2, sort_keys=True, ensure_ascii=False) if text.strip() else ""
