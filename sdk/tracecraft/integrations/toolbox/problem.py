"""`ToolProblem`: why a tool did not do what it was asked, in words on which a model can act.

Every error of tracecraft is translated here, in one place, into a code that does not change, a sentence that says what
to do next, and whether the same call may succeed later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tracecraft_core import errors, quotation

if TYPE_CHECKING:
    from collections.abc import Callable

INVALID_ARGUMENTS: Final = "invalid_arguments"
"""The arguments are wrong: mend them and call again."""
UNKNOWN_TOOL: Final = "unknown_tool"
HELD: Final = "held"
"""Another agent, or another session of this one, has it."""
SETTLED: Final = "settled"
"""The task is done already."""
NOT_READY: Final = "not_ready"
"""The task depends on others that are not done."""
NOTHING_LEFT: Final = "nothing_left"
"""There is no task left to do."""
CONFLICT: Final = "conflict"
"""Somebody wrote in between; nothing was written."""
REFUSED: Final = "refused"
CLAIM_LOST: Final = "claim_lost"
"""The task is no longer ours; nothing was written."""
NOT_FOUND: Final = "not_found"
TOO_LARGE: Final = "too_large"
BUS_AWAY: Final = "bus_away"
"""No answer from the bus."""
OUTCOME_UNKNOWN: Final = "outcome_unknown"
"""The bus went away in the middle of a write."""
STORE_AWAY: Final = "store_away"
"""The bus is there, the bridge to the past runs is not."""
NOT_PERMITTED: Final = "not_permitted"
TIMEOUT: Final = "timeout"
CLOSED: Final = "closed"
FAILED: Final = "failed"
"""Anything else."""

LONGEST: Final = 1_000
"""Characters of a message."""


class ToolProblem(errors.TracecraftError):
    """A tool refused or failed.

    Attributes: ``code`` (one of this module's), ``message``, ``retry`` (whether the call, mended where the message says
    so, may succeed), ``facts`` (JSON).
    """

    def __init__(self, code: str, message: str, *, retry: bool, facts: dict[str, Any] | None = None) -> None:
        message = quotation.neutral(message, keep="\n")
        message = message if len(message) <= LONGEST else message[: LONGEST - 1] + "…"
        super().__init__(message)
        self.code, self.message, self.retry, self.facts = code, message, retry, facts or {}

    def as_dict(self) -> dict[str, Any]:
        """The problem as JSON."""
        return {"code": self.code, "message": self.message, "retry": self.retry, "facts": self.facts}


def problem_of(error: Exception) -> ToolProblem:
    """The problem that an error of tracecraft is for a model."""
    if isinstance(error, ToolProblem):
        return error
    for kind, translate in _TRANSLATIONS.items():
        if isinstance(error, kind):
            return translate(error)
    return ToolProblem(FAILED, str(error), retry=False)


def held(error: errors.TaskHeld, session: str | None = None, *, me: str | None = None) -> ToolProblem:
    """A claim that was refused; ``session`` is the holder's, where it is known, and in words only if it is ``me``."""
    since = f" since {clock(error.since)}" if error.since else ""
    left = f", its lease ends in {error.expires_in:.0f} s unless renewed" if error.expires_in is not None else ""
    who = f"{error.owner} (session {session})" if session and error.owner == me else error.owner
    mine = " That is your own name in another session: work there, or wait until its lease ends." * (error.owner == me)
    facts = {"task": error.task, "owner": error.owner, "since": error.since, "expires_in": error.expires_in}
    return ToolProblem(
        HELD,
        f"claim refused: {who} holds {error.task}{since}{left}.{mine} "
        f'Take another task with claim(), or call wait(tasks=["{error.task}"]) until it is done.',
        retry=True,
        facts=facts | ({"session": session} if session else {}),
    )


def _reserved(error: errors.FileReserved) -> ToolProblem:
    facts = {"wanted": error.wanted, "glob": error.glob, "owner": error.owner, "path": error.path}
    return ToolProblem(HELD, f"nothing was reserved: {error}", retry=True, facts=facts)


def clock(time: str) -> str:
    """The time of day of a server's time, in seconds."""
    return time[11:19] + " UTC" if len(time) >= 19 else time


def _settled(error: errors.TaskSettled) -> ToolProblem:
    facts = {"task": error.task, "state": error.state, "owner": error.owner}
    advice = f'tasks(task="{error.task}") shows the handoff; take another task with claim()'
    return ToolProblem(SETTLED, f"{error}: {advice}", retry=False, facts=facts)


def _not_ready(error: errors.TaskNotReady) -> ToolProblem:
    missing = list(error.missing)
    advice = "take another task with claim(), or wait(tasks=[…]) for these"
    return ToolProblem(NOT_READY, f"{error}: {advice}", retry=True, facts={"task": error.task, "missing": missing})


def _conflict(error: errors.RevisionConflict) -> ToolProblem:
    key = error.subject.rpartition("/")[2]
    return ToolProblem(CONFLICT, f"nothing was written: {error}", retry=True, facts={"of": key, "now": error.actual})


def _lost(error: errors.ClaimLost) -> ToolProblem:
    facts = {"task": error.task, "owner": error.owner, "state": error.state}
    return ToolProblem(CLAIM_LOST, f"nothing was written: {error}", retry=False, facts=facts)


def _bus_away(error: errors.BusUnreachable) -> ToolProblem:
    advice = "Call again in some seconds; what you do alone may go on, but claim nothing that others may hold."
    return ToolProblem(BUS_AWAY, f"{error}. {advice}", retry=True, facts={"servers": error.servers})


def _unknown(error: errors.OutcomeUnknown) -> ToolProblem:
    advice = "look with tasks(), memory_get() or whoami() first"
    return ToolProblem(OUTCOME_UNKNOWN, f"{error}: {advice}", retry=False, facts={"subject": error.subject})


def _with(code: str, *, retry: bool, advice: str = "") -> Callable[[Any], ToolProblem]:
    return lambda error: ToolProblem(code, f"{error}; {advice}" if advice else str(error), retry=retry)


_TRANSLATIONS: Final[dict[type[Exception], Callable[[Any], ToolProblem]]] = {
    errors.TaskHeld: held,
    errors.FileReserved: _reserved,
    errors.TaskSettled: _settled,
    errors.TaskNotReady: _not_ready,
    errors.RevisionConflict: _conflict,
    errors.ClaimLost: _lost,
    errors.NothingLeft: _with(NOTHING_LEFT, retry=False, advice="add_task() adds one, and wait() waits for a message"),
    errors.Refused: _with(REFUSED, retry=True, advice="claim() with wait, or wait() for those tasks, and try again"),
    errors.BodyTooLarge: _with(TOO_LARGE, retry=True),
    errors.UsageError: _with(INVALID_ARGUMENTS, retry=True),
    errors.BusUnreachable: _bus_away,
    errors.OutcomeUnknown: _unknown,
    errors.BridgeAway: _with(STORE_AWAY, retry=True),
    errors.WaitTimeout: _with(TIMEOUT, retry=True),
    errors.NotFound: _with(NOT_FOUND, retry=False),
    errors.NotPermitted: _with(NOT_PERMITTED, retry=False),
}
"""By kind of error, the more special ones first."""
