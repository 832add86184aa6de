"""In which folder a session worked: its first lines say so, and of Claude Code the name of the file's folder too."""

from __future__ import annotations

import re
import sqlite3
from typing import TYPE_CHECKING, Final

from tracecraft.transcripts.lines import Rewritten
from tracecraft.transcripts.records import Facts
from tracecraft.transcripts.sources import open_transcript

if TYPE_CHECKING:
    from pathlib import Path

    from tracecraft.transcripts.finder import Found

HEAD: Final = 256 * 1024
"""Bytes of a transcript in which its folder stands."""
_LONGEST: Final = 200
"""Characters of a folder's name up to which Claude Code does not cut it."""


def inside(found: Found, folder: Path) -> bool:
    """Whether a session worked in a folder, or below it."""
    wanted = folder.expanduser().resolve()
    spelled = re.sub(r"[^A-Za-z0-9]", "-", str(wanted))
    if found.source == "claude" and len(spelled) < _LONGEST and found.path.parent.parent.name == "projects":
        name = found.path.parent.name
        if name != spelled and not name.startswith(f"{spelled}-"):
            return False
    cwd = of(found)
    return cwd == str(wanted) or cwd.startswith(f"{wanted}/")


def of(found: Found) -> str:
    """The folder; empty where the beginning of the transcript does not say it."""
    transcript = open_transcript(found.source, found.path, found.session, {})
    try:
        records = transcript.read(HEAD)
    except (OSError, Rewritten, sqlite3.Error):
        return ""
    return next((record.cwd for record in records if isinstance(record, Facts) and record.cwd), "")
