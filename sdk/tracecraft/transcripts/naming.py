"""Names that a session has in tracecraft: its run, its agents, its steps."""

from __future__ import annotations

import hashlib
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from tracecraft_core import coding_session, names

if TYPE_CHECKING:
    from tracecraft.transcripts.sources import Source

_LONG: Final = 40
"""Characters of an agent's name that stay when a sub-agent is named after it."""


def run_id(source: Source, session: str) -> str:
    """Id of the run of a session, ``claude-<session>``; its sidecar calls it so too."""
    return coding_session.name(source, session)


def step_id(source: Source, session: str, key: str) -> str:
    """Id of a step: the same for ever, so that what was recorded is known again."""
    found = hashlib.sha256(f"{source}\0{session}\0{key}".encode()).hexdigest()[:16]
    return found if found.strip("0") else "1".zfill(16)


def agent_name(source: Source, cwd: str) -> str:
    """Name of an agent of which only the folder is known: ``<folder>-claude``."""
    folder = names.agent_from_text(PurePath(cwd).name, _LONG)
    return f"{folder}-{source}" if folder else source


def subagent_name(agent: str, role: str, id: str) -> str:
    """Name of a sub-agent: ``<agent>-<role>-<start of its id>``."""
    word = names.agent_from_text(role, 14) or "sub"
    return f"{agent[:_LONG]}-{word}-{names.from_text(id, 7)}"
