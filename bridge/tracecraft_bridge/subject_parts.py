"""What a subject of the log says: project, family, and who and what it is about. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tracecraft_core.subjects import ROOT

LONGEST: Final = 600
"""Characters of a subject that is looked into; PostgreSQL could not index the parts of a much longer one."""


@dataclass(frozen=True, slots=True)
class SubjectParts:
    """The parts; what a family does not have is ``None``."""

    family: str
    project: str | None = None
    agent: str | None = None
    """Who wrote it; for ``agent`` events, whom it is about."""
    recipient: str | None = None
    """To whom a message goes; for a receipt, who sent the message."""
    run: str | None = None
    event: str | None = None
    key: str | None = None
    """Memory key or task id."""


def subject_parts(subject: str) -> SubjectParts:
    """Read a subject (`tracecraft_core.subjects` has their shapes); never fails."""
    tokens = subject.split(".")
    if len(tokens) < 3 or tokens[0] != ROOT or len(subject) > LONGEST:
        return SubjectParts("other")
    project, family, rest = tokens[1], tokens[2], tokens[3:]
    match family, len(rest):
        case ("msg", 2):
            return SubjectParts(family, project, agent=rest[1], recipient=rest[0])
        case ("all", 1):
            return SubjectParts(family, project, agent=rest[0])
        case ("receipt", 2):
            return SubjectParts(family, project, agent=rest[1], recipient=rest[0])
        case ("agent", count) if count >= 2:
            return SubjectParts(family, project, agent=rest[0], event=".".join(rest[1:]))
        case ("run", count) if count >= 3:
            return SubjectParts(family, project, agent=rest[1], run=rest[0], event=".".join(rest[2:]))
        case ("memory" | "task", count) if count >= 1:
            return SubjectParts(family, project, key=".".join(rest))
    return SubjectParts("other", project)
