"""The stream of stored sessions: transcripts of Claude's agents, as their SDK hands them to a store.

It is made by the first who stores one; a bus where nobody does has five streams as ever. Subjects are
``tcs.<project>.<folder>.<session>.<part>`` for entries and ``tcsum.<project>.<folder>.<session>`` for the summary;
folder, session and part are base64url of any text. A message holds entries as JSON lines, compressed by zstd; what
does not fit into one is cut into pieces, which `PIECE` numbers.
"""

from __future__ import annotations

import base64
from typing import Any, Final

from tracecraft_core import subjects

STREAM: Final = "TC_SESSIONS"
ENTRIES: Final = "tcs"
SUMMARIES: Final = "tcsum"
PIECE: Final = "Tc-Piece"
"""``<id> <number from 1> <of how many>``."""
MAIN: Final = "main"
"""The part that is the session itself; the others (``s`` and their name) are those of its subagents."""


def definition(replicas: int = 1) -> dict[str, Any]:
    """The stream's configuration."""
    return {
        "name": STREAM,
        "subjects": [f"{ENTRIES}.>", f"{SUMMARIES}.>"],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "num_replicas": replicas,
        "allow_direct": False,
        "duplicate_window": subjects.DUPLICATE_WINDOW_S * 1_000_000_000,
    }


def token(text: str) -> str:
    """Any text as a token of a subject."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=") or "-"


def text(token: str) -> str:
    """The text behind a `token`."""
    if token == "-":
        return ""
    return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()


def entries(project: str, folder: str, session: str, part: str | None) -> str:
    """Subject of the entries of a session, or of one of its subagents."""
    name = MAIN if part is None else f"s{token(part)}"
    return f"{ENTRIES}.{project}.{token(folder)}.{token(session)}.{name}"


def summary(project: str, folder: str, session: str) -> str:
    """Subject of the newest summary of a session."""
    return f"{SUMMARIES}.{project}.{token(folder)}.{token(session)}"
