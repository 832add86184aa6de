"""Which files a tool call would change, as the tool names them: for the tools whose input says so.

A shell command can change any file in more ways than can be told from its text, so only a patch that Codex takes in its
shell for an edit is read there; a pre-commit hook is the net below (docs/explanation/coding-agents.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tracecraft_cli.sidecar.event import Event

MAX_FILES: Final = 200
"""Files of one call that are looked at, in the time that a hook has; a call that names more is not let past others."""

TOO_MANY: Final = (
    "too many files to check, or a path that is too long, while other agents hold files: not edited. See what they "
    "hold with 'tracecraft reserve --list', and split the patch into several of fewer files."
)
"""Why an edit is not done whose files cannot all be looked at."""

_HEADS: Final = ("*** Add File: ", "*** Update File: ", "*** Delete File: ", "*** Move to: ")
"""The lines of a patch that name a file (Codex's apply_patch format)."""


def edited(event: Event) -> list[str]:
    """The paths, relative to the agent's folder or absolute, in the order of the call."""
    paths = [path for path in [*event.paths, *patched(event.patch)] if path]
    return list(dict.fromkeys(paths))


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
