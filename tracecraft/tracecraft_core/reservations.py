"""Reservations of files: a glob that one agent holds, as a claim on a task whose id is made of the glob.

The rules, without I/O: the id of the task, what its record says, and who of two that overlap has it. The first to have
written its claim has it: its *rank* is the fencing token of that write. Several globs that are reserved together have
one rank, that of the first, whose record names the others until each has a record of its own.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tracecraft_core import globs, names
from tracecraft_core.errors import FileReserved, UsageError
from tracecraft_core.task_ids import HASHED, PREFIX, decoded, encoded

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tracecraft_core.bodies import TaskRecord
    from tracecraft_core.tasks import Holder

ALL: Final = f"{PREFIX}.>"
"""The pattern of all reservations."""


class Reserved(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the record of a reservation has as its ``data``."""

    glob: str
    also: list[str] = []
    """Globs that are being reserved together with this one and may have no record yet."""
    rank: int | None = None
    """The fencing token that decides, where it is not that of this record."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """A glob that somebody holds."""

    glob: str
    owner: str
    session: str
    fence: int
    """The fencing token of the claim."""
    since: str
    """When it was reserved, RFC 3339, server time."""
    task: str
    """Id of the task that is claimed."""
    expires_in: float | None = None
    """Seconds until the lease lapses unless it is renewed, by this machine's clock."""
    rank: int = 0
    """Of two that overlap the lower one has it."""
    also: tuple[str, ...] = ()
    """Globs that its owner reserves together with it just now."""

    def matches(self, path: str) -> bool:
        """Whether it covers a path of the repository."""
        return globs.matches(globs.parse(self.glob), path)

    def refusal(self, wanted: str) -> FileReserved | None:
        """Why nobody else can have the glob ``wanted``; ``None`` when they do not overlap."""
        mine = globs.parse(wanted)
        for glob in (self.glob, *self.also):
            path = globs.meeting(mine, globs.parse(glob))
            if path is not None:
                return FileReserved(wanted, glob, self.owner, self.since, self.expires_in, path)
        return None


def is_reservation(task: str) -> bool:
    """Whether this is the id of a reservation, and no work."""
    return task.startswith(f"{PREFIX}.")


def listed(pattern: str, task: str) -> bool:
    """Whether a task matches a pattern, for a list of work: reservations only where the pattern names them."""
    return names.matches(pattern, task) and (not is_reservation(task) or pattern.split(".")[0] == PREFIX)


def check_work(task: str) -> str:
    """The id of a task that is work. Raises `UsageError` for that of a reservation."""
    if is_reservation(task):
        glob = glob_of(task) or "PATH"
        raise UsageError(
            f"{task}: tasks of {PREFIX!r} are reservations of files: 'tracecraft reserve {glob}' makes one, "
            "and sees to it that no other overlaps"
        )
    return task


def task_of(glob: str) -> str:
    """The id of the task of a glob (`tracecraft_core.task_ids`)."""
    task = encoded(globs.parse(glob).text.split("/"))
    if len(task) <= names.MAX_KEY:
        return task
    return f"{PREFIX}.{HASHED}.{hashlib.sha256(glob.encode()).hexdigest()}"


def glob_of(task: str) -> str | None:
    """The glob of a task's id; ``None`` for one that was too long, or is not ours: then the record says it."""
    glob = decoded(task)
    try:
        return glob if glob is not None and task_of(glob) == task else None
    except UsageError:
        return None


def data_of(reserved: Reserved) -> Any:
    """What to write as the ``data`` of the record."""
    return msgspec.to_builtins(reserved)


def reservation(
    task: str, record: TaskRecord, revision: int, time: str, expires_in: float | None = None
) -> Reservation | None:
    """What a claimed record reserves; ``None`` for one that says nothing that can be understood."""
    try:
        said = msgspec.convert(record.data, Reserved)
        for glob in (said.glob, *said.also):
            globs.parse(glob)
    except (msgspec.ValidationError, UsageError):
        return None
    return Reservation(
        glob=said.glob,
        owner=record.owner or "",
        session=record.session or "",
        fence=revision,
        since=time,
        task=task,
        expires_in=expires_in,
        rank=revision if said.rank is None else said.rank,
        also=tuple(said.also),
    )


def is_ours(reservation: Reservation, holder: Holder) -> bool:
    """Whether this agent and session holds it."""
    return (reservation.owner, reservation.session) == (holder.agent, holder.session)


def refusal(
    wanted: Iterable[str], found: Iterable[Reservation], holder: Holder, before: int | None = None
) -> FileReserved | None:
    """Why ``holder`` cannot have these globs; with ``before`` only reservations of a lower rank count."""
    others = [other for other in found if not is_ours(other, holder) and (before is None or other.rank < before)]
    for glob in wanted:
        for other in sorted(others, key=lambda other: other.rank):
            why = other.refusal(glob)
            if why is not None:
                return why
    return None


def covering(glob: str, found: Iterable[Reservation]) -> Reservation | None:
    """One of these that covers all of a glob."""
    wanted = globs.parse(glob)
    return next((one for one in found if globs.covers(globs.parse(one.glob), wanted)), None)


def with_a_path_that_ends(tail: str, found: Iterable[Reservation]) -> Reservation | None:
    """One of these that covers a file whose path ends in these names."""
    wanted = globs.ending(tail)
    return next((one for one in found if _may_meet(globs.parse(one.glob), wanted)), None)


def _may_meet(glob: globs.Glob, wanted: globs.Glob) -> bool:
    return globs.matches(wanted, glob.prefix) if glob.whole else globs.meeting(glob, wanted) is not None


def chosen(given: str, found: Sequence[Reservation]) -> list[Reservation]:
    """Those that lie within a glob; a plain path may be that of a folder."""
    outer = [globs.parse(given)]
    if outer[0].whole:
        outer.append(globs.parse(f"{given}/**"))
    return [one for one in found if any(globs.covers(each, globs.parse(one.glob)) for each in outer)]
