"""Which files a tool call would change, as the tool names them: for the tools whose input says so.

A shell command can change any file in more ways than can be told from its text, so only a patch that Codex takes in its
shell for an edit is read there; a pre-commit hook is the net below (docs/explanation/coding-agents.md).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tracecraft_cli.sidecar.event import Event, Patch

MAX_FILES: Final = 200
"""Files of one call that are looked at, in the time that a hook has; a call that names more is not let past others."""

MAX_TAILS: Final = 25
"""Of these, files of which only the end of the path is known: to compare it with patterns takes longer."""

_HEADS: Final = ("*** Add File: ", "*** Update File: ", "*** Delete File: ", "*** Move to: ")
"""The lines of a patch that name a file (Codex's apply_patch format)."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A file that would be changed."""

    path: str
    """Relative to the agent's folder, or absolute."""
    tail: str | None = None
    """Where the folder is a guess: what the path ends in, in whichever folder it is."""


def edited(event: Event) -> list[Edit]:
    """The files, in the order of the call."""
    found = [Edit(path) for path in event.paths if path]
    for patch in event.patches:
        found += [_in_place(path, patch) for path in patched(patch.text)]
    return list(dict.fromkeys(found))


def _in_place(path: str, patch: Patch) -> Edit:
    tail = None
    if patch.under is not None and not path.startswith("/"):
        parts = os.path.normpath(os.path.join(patch.under, path)).split("/")
        tail = "/".join(part for part in parts if part not in ("", ".."))
    return Edit(os.path.join(patch.folder, path), tail)


def patched(patch: str) -> list[str]:
    """The files that a patch adds, changes, deletes or moves.

    Codex trims a headline, and what is blank before a name belongs to it; its versions differ about blanks at the end
    of a 'Move to'. So every reading of a name counts.
    """
    named: list[str] = []
    for line in patch.split("\n"):
        headline = line.lstrip()
        for head in _HEADS:
            if headline.startswith(head):
                name = headline[len(head) :].rstrip("\r")
                named += [name.rstrip(), name, name.strip()]
    return list(dict.fromkeys(path for path in named if path.strip()))
