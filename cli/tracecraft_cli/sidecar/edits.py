"""Which files a tool call would change, as the tool names them: for the tools whose input says so.

A shell command can change any file in more ways than can be told from its text, so only a patch that Codex takes in its
shell for an edit is read there; a pre-commit hook is the net below (docs/explanation/coding-agents.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tracecraft_cli.sidecar.event import Event

MAX_FILES: Final = 200
"""Files of one call that are looked at."""

_HEADS: Final = ("*** Add File: ", "*** Update File: ", "*** Delete File: ", "*** Move to: ")
"""The lines of a patch that name a file (Codex's apply_patch format)."""


def edited(event: Event) -> list[str]:
    """The paths, relative to the agent's folder or absolute, in the order of the call."""
    paths = [path for path in [*event.paths, *patched(event.patch)] if path]
    return list(dict.fromkeys(paths))[:MAX_FILES]


def patched(patch: str) -> list[str]:
    """The files that a patch adds, changes, deletes or moves."""
    named = (line[len(head) :].strip() for line in patch.splitlines() for head in _HEADS if line.startswith(head))
    return [path for path in named if path]
