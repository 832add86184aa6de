"""A plan as a person reads it before it is done: each file, each command, and the lines that change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracecraft_cli.install import parsed, rehearsal
from tracecraft_core.quotation import neutral

if TYPE_CHECKING:
    from tracecraft_cli.install.plan import Plan, Write


def facts(plan: Plan) -> dict[str, Any]:
    """The plan for ``--json``; it rehearses the commands. Raises `AgentFailed`."""
    return {
        "write": [str(one.path) for one in plan.writes],
        "run": [str(one) for one in plan.runs],
        "remove": [str(one.path) for one in plan.removes],
        "changes": _changes(plan),
        "left_to_you": list(plan.left),
    }


def lines(found: dict[str, Any]) -> list[str]:
    """The same in lines."""
    shown = [f"  write   {_short(path)}" for path in found["write"]]
    shown += [f"  run     {_short(command)}" for command in found["run"]]
    shown += [f"  remove  {_short(path)}" for path in found["remove"]]
    for path, changed in found["changes"].items():
        shown += [f"  in {_short(path)}:", *(f"    {neutral(line)}" for line in changed)]
    return shown


def _changes(plan: Plan) -> dict[str, list[str]]:
    changed = {str(one.path): _of_file(one) for one in plan.writes if one.precious}
    if plan.rehearsal and plan.runs:
        changed[str(plan.rehearsal.settings)] = rehearsal.changes(plan.rehearsal, plan.runs, plan.writes)
    return {path: diff for path, diff in changed.items() if diff}


def _of_file(write: Write) -> list[str]:
    return rehearsal.difference(parsed.text_of(write.path), write.content.decode())


def _short(text: str) -> str:
    """A path below the home folder as people write it."""
    return text.replace(f"{Path.home()}/", "~/") if str(Path.home()) != "/" else text
