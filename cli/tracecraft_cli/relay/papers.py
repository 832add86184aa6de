"""What lies in a relay's folder: requests, answers, and the relay's beat; and where.

```
.tracecraft/relay/            0700, ignored by git
  beat.json                   the relay lives: `Beat`, touched every second
  requests/<id>/request.json  `Request`; it appears whole, by a rename
  requests/<id>/stdin         what the command reads from standard input
  requests/<id>/attached      the file, or folder, that it is given
  requests/<id>/client        locked by the client for as long as it waits
  taken/<id>/                 the relay has it: the same folder, renamed by the relay
  taken/.owed-<id>/           it is over, and there was no room for its receipt
  answers/<id>.out, .err      what the command prints, as it prints it
  answers/<id>.json           `Answer`: the receipt, when it is over
  spool/                      what runs have recorded (docs/how-to/track-a-run.md)
```

Whoever renames a request first has it: the relay into ``taken``, the client out of the way.
"""

from __future__ import annotations

import re
import secrets
import time
from typing import Final, Literal, TypeAlias

import msgspec

BEAT: Final = "beat.json"
REQUESTS: Final = "requests"
TAKEN: Final = "taken"
ANSWERS: Final = "answers"
REQUEST: Final = "request.json"
STDIN: Final = "stdin"
ATTACHED: Final = "attached"
CLIENT: Final = "client"
OUT: Final = ".out"
ERR: Final = ".err"
RECEIPT: Final = ".json"
OWED: Final = ".owed-"

BEAT_S: Final = 1.0
"""Seconds between two beats of a relay."""
STALE_S: Final = 4.0
"""Seconds without one after which a relay counts as gone, or paused."""

MAX_PAPER: Final = 512 * 1024
"""Most bytes of a request, an answer or a beat."""
MAX_STDIN: Final = 8 * 1024 * 1024
"""Most bytes of standard input."""
MAX_ATTACHED: Final = 64 * 1024 * 1024
"""Most bytes of a file, or of the files of a folder."""
MAX_FILES: Final = 1_000
"""Most files of a folder that is attached."""

ID: Final = re.compile(r"[0-9]{16}-[0-9a-f]{12}")
"""Microseconds since 1970, so that requests sort by time, and chance."""

State: TypeAlias = Literal["queued", "running", "owed", "acked", "refused", "cancelled", "unknown"]
"""What became of a request. ``owed``: it is over, and its receipt comes when there is room for it; ``acked``: it was
run, and the exit code says how it went; ``unknown``: the relay died meanwhile, it may or may not have been done."""


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A command that is to be run outside."""

    id: str
    command: list[str]
    """Its words: ``["memory", "set"]``."""
    options: list[tuple[str, str | None]] = []
    """With their values; ``None`` for a flag."""
    arguments: list[str] = []
    json: bool = False
    agent: str
    project: str | None = None
    """``None``: nobody inside has named one."""
    session: str | None = None
    environment: dict[str, str] = {}
    stdin: bool = False
    attached: str | None = None
    """Name of the file or folder in ``attached``."""
    wait: bool
    """Whether a client waits for the answer."""
    time: float
    """Seconds since 1970."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a request."""

    id: str
    state: State
    exit_code: int
    command: str
    """Its words, without values."""
    agent: str | None = None
    message: str | None = None
    """Why it was refused, or is unknown."""
    queued_at: float | None = None
    ended_at: float
    """Seconds since 1970."""
    truncated: bool = False
    """It printed more than is kept."""


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """A relay that lives, as long as the file is touched: on a full disk that still works."""

    pid: int
    host: str
    project: str
    agent: str | None
    """Whom every request counts for, whatever it says."""
    started: float
    """Seconds since 1970."""
    server: str = ""
    """By which it reaches the bus, without secrets."""


def fresh(touched: float) -> bool:
    """Whether a relay whose beat was touched then (seconds since 1970) lives and is not paused."""
    return abs(time.time() - touched) <= STALE_S


def new_id() -> str:
    """An id for a request that is made now."""
    return f"{time.time_ns() // 1000:016d}-{secrets.token_hex(6)}"
