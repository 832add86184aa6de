"""What lies in a relay's folder, for people: what is queued, what runs, and what became of the rest."""

from __future__ import annotations

import contextlib
import datetime
from typing import TYPE_CHECKING, Any, Final

from tracecraft_cli.output import emit, note, table
from tracecraft_cli.relay import papers
from tracecraft_cli.relay.folder import Suspicious
from tracecraft_cli.relay.spot import Spot
from tracecraft_core import sandbox
from tracecraft_core.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from tracecraft_cli.relay.papers import Answer, Request, State

OUTPUT: Final = 4_000
"""Most characters of what a command has printed that are shown with its receipt."""
OWED: Final = "it is over; its receipt comes when the workspace has room for it"


def show(as_json: bool, workspace: Path) -> None:
    """Print them. Raises `UsageError` when what lies there is no relay's folder."""
    if not (workspace / sandbox.FOLDER).exists():
        emit(as_json, {"workspace": str(workspace), "relay": None, "requests": []}, None)
        note(f"{workspace} has no relay and no requests")
        return
    try:
        with contextlib.closing(Spot(workspace)) as spot:
            _show(as_json, spot)
    except (OSError, Suspicious) as error:
        raise UsageError(f"{workspace / sandbox.FOLDER} cannot be read: {error}") from None


def _show(as_json: bool, spot: Spot) -> None:
    beat = spot.last_beat() if spot.alive() else None
    found = [_done(spot, answer) for answer in spot.receipts()]
    standing: dict[State, list[str]] = {"running": spot.taken(), "owed": spot.owed(), "queued": spot.waiting()}
    for state, ids in standing.items():
        found += [_standing(id_, spot.standing(id_, state), state) for id_ in ids]
    found.sort(key=lambda one: str(one["request"]))
    relay = {"pid": beat.pid, "host": beat.host, "project": beat.project, "agent": beat.agent} if beat else None
    result = {"workspace": str(spot.workspace), "relay": relay, "requests": found}
    rows = [[str(one[name]) if one[name] is not None else "-" for name in _COLUMNS] for one in found]
    emit(as_json, result, table(list(_COLUMNS.values()), rows) if rows else None)
    if beat is not None:
        note(f"a relay runs: process {beat.pid} on {beat.host}, project {beat.project}")
    else:
        note(f"no relay runs: outside of the sandbox start 'tracecraft relay {spot.workspace}'")


_COLUMNS: Final = {
    "request": "request",
    "state": "state",
    "agent": "agent",
    "command": "command",
    "exit_code": "exit",
    "message": "why",
}


def _done(spot: Spot, answer: Answer) -> dict[str, Any]:
    return {
        "request": answer.id,
        "state": answer.state,
        "agent": answer.agent,
        "command": answer.command,
        "exit_code": answer.exit_code,
        "message": answer.message,
        "queued_at": _moment(answer.queued_at),
        "ended_at": _moment(answer.ended_at),
        "stdout": spot.printed(answer.id, papers.OUT, OUTPUT),
        "stderr": spot.printed(answer.id, papers.ERR, OUTPUT),
    }


def _standing(id_: str, request: Request | None, state: State) -> dict[str, Any]:
    return {
        "request": id_,
        "state": state,
        "agent": request.agent if request else None,
        "command": " ".join(request.command) if request else "?",
        "exit_code": None,
        "message": OWED if state == "owed" else None,
        "queued_at": _moment(request.time) if request else None,
        "ended_at": None,
        "stdout": "",
        "stderr": "",
    }


def _moment(seconds: float | None) -> str | None:
    """A time as it stands everywhere else, RFC 3339; ``None`` for one that is none: a client may write anything."""
    try:
        then = datetime.datetime.fromtimestamp(seconds, datetime.UTC) if seconds is not None else None
    except (OverflowError, OSError, ValueError):
        return None
    return then.isoformat(timespec="milliseconds").replace("+00:00", "Z") if then else None
