"""The error tree. Each error carries its facts as attributes and the exit code that the command line gives it.

TracecraftError                          1
├── UsageError (ValueError)              2   the call itself is wrong
│   ├── InvalidName                      2   a project, agent, task id or key has a character it must not have
│   ├── BodyTooLarge                     2   over the limit of one message
│   └── InvalidPlan                      2   a plan file with a cycle, a repeat or a wrong field
├── Refused                              3   someone else has it
│   ├── TaskHeld                         3   another agent holds the task
│   ├── TaskSettled                      3   the task is done already
│   ├── TaskNotReady                     3   a dependency is not done yet
│   ├── FileReserved                     3   another agent holds a file
│   └── RevisionConflict                 3   compare-and-set: the value is no longer what you read
├── ClaimLost                            4   the task is no longer yours
├── TaskFailed                           5   a task you wait for failed or is blocked
├── OwnerLost                            6   the owner of a task you wait for died
├── BusUnreachable (ConnectionError)    69   no server answers
├── OutcomeUnknown                      69   the bus went away in the middle of a write
├── BridgeAway                          69   the bus is there, but nobody answers for the stores
├── BridgeFailed                         1   the bridge is there, and failed on this question
├── WaitTimeout (TimeoutError)         124   what you waited for did not happen in time
├── NotFound (LookupError)               1   no such key, revision, task or message
│   └── NothingLeft                      7   every task that matches is settled
├── NotPermitted (PermissionError)       1   the bus user lacks a right
├── Malformed                            1   a record that some client wrote cannot be understood
├── Damaged                              1   a bundle or a file is not what its hash says
├── FileProblem                          1   a local file is gone, changes meanwhile, or finds no room
├── LogFull                              1   the log takes no more: nothing was written
├── BusError                             1   the server refused for another reason
└── StackError                           1   a local server did not start or stop
"""

from __future__ import annotations

from typing import ClassVar, Final

from tracecraft_core.quotation import oneline
from tracecraft_core.task_ids import spoken

SESSION_CLOSED: Final = "this session is closed: open another one"
"""What a `UsageError` says to every verb after `close`."""


_SHOWN: Final = 200
"""Characters of a glob that another agent chose, in a message."""


class TracecraftError(Exception):
    """Base of everything tracecraft raises; ``str()`` says what happened and what to do."""

    exit_code: ClassVar[int] = 1


class UsageError(TracecraftError, ValueError):
    """The call is wrong: a value, a combination of options, a missing argument."""

    exit_code = 2


class InvalidName(UsageError):
    """A name that the bus cannot carry.

    Attributes: ``kind`` (what was named), ``value``, ``problem``.
    """

    def __init__(self, kind: str, value: object, problem: str, example: str) -> None:
        value = value if isinstance(value, str) else repr(value)
        shown = value if len(value) <= 80 else value[:77] + "..."
        super().__init__(f"{kind} {shown!r}: {problem}; for example {example!r}")
        self.kind, self.value, self.problem = kind, value, problem


class BodyTooLarge(UsageError):
    """A body over the limit. Attributes: ``what``, ``size`` and ``limit`` in bytes."""

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(
            f"{what} is {size:,} bytes, over the limit of {limit:,}: "
            "put it into a file or object store and pass a reference"
        )
        self.what, self.size, self.limit = what, size, limit


class InvalidPlan(UsageError):
    """A plan that cannot be applied; the message names the task and the field."""


class Refused(TracecraftError):
    """Someone else has it, or had it first."""

    exit_code = 3


class TaskHeld(Refused):
    """Another agent holds the task.

    Attributes: ``task``, ``owner``, ``since`` (RFC 3339, server time), ``expires_in`` (seconds until the lease
    lapses unless renewed; ``None`` when the claim is being written right now).
    """

    def __init__(self, task: str, owner: str, since: str | None, expires_in: float | None) -> None:
        when = _since(since)
        until = f", its lease lapses in {expires_in:.0f} s unless renewed" if expires_in is not None else ""
        super().__init__(f"{task} is held by {owner}{when}{until}")
        self.task, self.owner, self.since, self.expires_in = task, owner, since, expires_in


def _since(time: str | None) -> str:
    """For people, so to the second; the attribute has all of it."""
    return f" since {time[:19]}Z" if time else ""


class TaskSettled(Refused):
    """The task is done. Attributes: ``task``, ``state``, ``owner``."""

    def __init__(self, task: str, state: str, owner: str | None) -> None:
        super().__init__(f"{task} is {state} already, by {owner or 'nobody named'}")
        self.task, self.state, self.owner = task, state, owner


class TaskNotReady(Refused):
    """A task depends on others that are not done. Attributes: ``task``, ``missing``.

    ``why`` says what became of them, where more is known than that they are not done yet.
    """

    def __init__(self, task: str, missing: tuple[str, ...], why: str = "") -> None:
        super().__init__(f"{task} waits for {why or ', '.join(missing) + ': not done yet'}")
        self.task, self.missing = task, missing


class FileReserved(Refused):
    """Another agent holds a file, or a glob that meets yours.

    Attributes: ``wanted`` (path or glob that was asked for), ``glob`` (what is reserved), ``owner``, ``since``
    (RFC 3339, server time), ``expires_in`` (seconds until the lease lapses unless renewed), ``path`` (one that both
    match).
    """

    def __init__(
        self, wanted: str, glob: str, owner: str, since: str | None, expires_in: float | None, path: str
    ) -> None:
        mine, theirs, who, both = (oneline(text, _SHOWN) for text in (wanted, glob, owner, path))
        meeting = "" if path in (wanted, glob) else f": both match {both}"
        reserved = "" if glob == wanted else f" (as {theirs}{meeting})"
        when = _since(since)
        until = f", the lease lapses in {expires_in:.0f} s unless renewed" if expires_in is not None else ""
        super().__init__(
            f"{mine} is reserved by {who}{reserved}{when}{until}: ask {who} to release it, "
            "wait for it, or work on other files"
        )
        self.wanted, self.glob, self.owner = wanted, glob, owner
        self.since, self.expires_in, self.path = since, expires_in, path


class RevisionConflict(Refused):
    """Compare-and-set lost: nothing was written. Attributes: ``subject``, ``expected``, ``actual`` (None: unknown).

    ``has_value`` says that a write was for a key without a value, and that the key has one.
    """

    def __init__(self, subject: str, expected: int, actual: int | None, *, has_value: bool = False) -> None:
        now = "" if actual is None else f", it is {actual}"
        problem = f"is not at revision {expected}{now}"
        if has_value:
            problem = "has a value already" + ("" if actual is None else f", revision {actual}")
        super().__init__(f"{subject} {problem}: read it again and decide again")
        self.subject, self.expected, self.actual, self.has_value = subject, expected, actual, has_value


class ClaimLost(TracecraftError):
    """The task is no longer yours; nothing was written. Attributes: ``task``, ``owner`` (who has it now), ``state``."""

    exit_code = 4

    def __init__(self, task: str, owner: str | None, state: str, detail: str = "") -> None:
        now = f"{owner} has it now ({state})" if owner else f"nobody has it now ({state})"
        more = f"; {detail}" if detail else ""
        super().__init__(f"you no longer hold {spoken(task)}: {now}{more}; stop and hand over")
        self.task, self.owner, self.state = task, owner, state


class TaskFailed(TracecraftError):
    """A task you wait for will not get done. Attributes: ``task``, ``state``, ``note``."""

    exit_code = 5

    def __init__(self, task: str, state: str, note: str | None) -> None:
        super().__init__(f"{task} is {state}{': ' + note if note else ''}")
        self.task, self.state, self.note = task, state, note


class OwnerLost(TracecraftError):
    """The owner of a task you wait for let its lease lapse. Attributes: ``task``, ``owner``."""

    exit_code = 6

    def __init__(self, task: str, owner: str | None) -> None:
        super().__init__(f"{owner or 'its owner'} lost {task}: the lease lapsed; anyone may claim it now")
        self.task, self.owner = task, owner


class BusUnreachable(TracecraftError, ConnectionError):
    """No NATS server answers, or it refuses us. Attributes: ``servers`` (without passwords), ``reason``.

    ``is_default`` says that nobody named the server: at the default address a stranger's may listen.
    """

    exit_code = 69

    def __init__(self, servers: str, reason: str, *, is_default: bool = False) -> None:
        if "authorization" in reason.lower() and is_default:
            message = (
                f"the NATS server at {servers} refuses us ({reason}): nothing names a server, so this is the default "
                "address, and it is somebody else's; start yours with 'tracecraft serve', "
                "or point to one with --server or TRACECRAFT_SERVER"
            )
        elif "authorization" in reason.lower():
            message = f"the NATS server at {servers} refuses us ({reason}): give its token, user or --creds"
        else:
            message = (
                f"no NATS server answers at {servers} ({reason}): start one with 'tracecraft serve', "
                "or point to yours with --server or TRACECRAFT_SERVER"
            )
        super().__init__(message)
        self.servers, self.reason = servers, reason


class OutcomeUnknown(TracecraftError):
    """The bus went away in the middle of a write and did not come back. Attributes: ``subject``, ``seconds``."""

    exit_code = 69

    def __init__(self, subject: str, seconds: float) -> None:
        super().__init__(
            f"the bus did not confirm the write to {subject} within {seconds:.0f} s: it may or may not be "
            "written; when the bus is back, look before you repeat it"
        )
        self.subject, self.seconds = subject, seconds


class BridgeAway(TracecraftError):
    """The bridge, or a store behind it, does not answer. Attribute: ``reason``.

    ``text`` says what happened where it is something else: the bridge did answer, and cannot do it now.
    """

    exit_code = 69

    def __init__(self, reason: str, text: str = "") -> None:
        silent = f"the bridge does not answer ({reason}): is it running? 'tracecraft doctor' looks into it"
        super().__init__(text or silent)
        self.reason = reason


class BridgeFailed(TracecraftError):
    """The bridge could not answer one question because of a mistake of its own. Attributes: ``verb``, ``reason``."""

    def __init__(self, verb: str, reason: str) -> None:
        super().__init__(f"the bridge failed on {verb} ({reason}): its log has more; asking again will not help")
        self.verb, self.reason = verb, reason


class WaitTimeout(TracecraftError, TimeoutError):
    """What you waited for did not happen in time. Attributes: ``what``, ``seconds``."""

    exit_code = 124

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(f"timed out after {seconds:g} s waiting for {what}")
        self.what, self.seconds = what, seconds


class NotFound(TracecraftError, LookupError):
    """No such thing. Attributes: ``kind``, ``name``."""

    def __init__(self, kind: str, name: str, hint: str = "") -> None:
        shown = name if kind == "revision" else repr(name)  # "no revision 3 of findings"
        what = f"{kind} {shown}"
        if kind == "task" and spoken(name) != name:
            what = spoken(name).removeprefix("the ")
        super().__init__(f"no {what}{': ' + hint if hint else ''}")
        self.kind, self.name = kind, name


class NothingLeft(NotFound):
    """Nothing is left to claim: no task matches, or all that match are settled. A worker's loop ends here."""

    exit_code = 7


class NotPermitted(TracecraftError, PermissionError):
    """The bus user lacks a right. Attributes: ``operation``, ``subject``."""

    def __init__(self, operation: str, subject: str) -> None:
        super().__init__(f"the bus user may not {operation} {subject!r}: ask whoever runs the server for that right")
        self.operation, self.subject = operation, subject


class Malformed(TracecraftError):
    """A record on the bus that cannot be understood. Attributes: ``subject``, ``problem``."""

    def __init__(self, subject: str, problem: str) -> None:
        super().__init__(
            f"{subject} holds something that cannot be understood ({problem}): write it again or delete it"
        )
        self.subject, self.problem = subject, problem


class Damaged(TracecraftError):
    """Content that is not what its hash says; it is reported and never repaired. Attributes: ``what``, ``problem``."""

    def __init__(self, what: str, problem: str) -> None:
        super().__init__(f"{what} is damaged: {problem}; fetch it again, or take another copy")
        self.what, self.problem = what, problem


class FileProblem(TracecraftError):
    """A local file that cannot be read, that changed while it was read, or that finds no room on its disk.

    Attributes: ``path``, ``problem``.
    """

    def __init__(self, path: str, problem: str, what_to_do: str) -> None:
        super().__init__(f"{path}: {problem}; {what_to_do}")
        self.path, self.problem = path, problem


class LogFull(TracecraftError):
    """The stream takes no more messages; nothing was written. Attributes: ``stream``, ``reason``."""

    def __init__(self, stream: str, reason: str) -> None:
        super().__init__(
            f"{stream} is full ({reason}), nothing was written: let the bridge mirror and purge it, or raise its limit"
        )
        self.stream, self.reason = stream, reason


class BusError(TracecraftError):
    """The server refused. Attributes: ``code`` (JetStream err_code, 0 when there is none), ``description``."""

    def __init__(self, doing: str, description: str, code: int = 0) -> None:
        super().__init__(f"{doing}: {description}{f' (JetStream error {code})' if code else ''}")
        self.doing, self.description, self.code = doing, description, code


class StackError(TracecraftError):
    """A local server did not start, stop or answer; the message has the last lines of its log."""
