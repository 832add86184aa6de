"""What a one-shot agent remembers between two commands: its session, and which tasks it claimed.

Both are hints in the user's state folder. The session makes two commands of one agent on one machine the same owner;
the claims tell the next command, whatever it is, what to renew. Nothing is decided by them: the bus knows the truth.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from tracecraft_core import ids
from tracecraft_core.errors import UsageError
from tracecraft_core.settings import state_dir

if TYPE_CHECKING:
    from pathlib import Path

    from tracecraft_core.settings import Settings


class Memo:
    """The memory of one agent of one project on one bus."""

    def __init__(self, settings: Settings) -> None:
        self._session = state_dir() / "sessions" / settings.project / settings.agent
        bus = hashlib.sha256(settings.server.encode()).hexdigest()[:12]
        who = f"{settings.agent}={settings.session}" if settings.session else settings.agent
        self._folder = state_dir() / "held" / bus / settings.project / who

    def session(self) -> str:
        """The session of this agent on this machine, made at first use; two commands at once agree on it."""
        try:
            return self._session.read_text(encoding="utf-8")
        except FileNotFoundError:
            return self._new_session()
        except OSError as error:
            raise _unusable(self._session, error) from None

    def _new_session(self) -> str:
        try:
            self._session.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fresh = self._session.with_name(f".{self._session.name}.{ids.fresh()}")
            fresh.write_text(f"cli-{ids.fresh()}", encoding="utf-8")
            with contextlib.suppress(FileExistsError):
                self._session.hardlink_to(fresh)  # the first of two wins, whole
            fresh.unlink()
            return self._session.read_text(encoding="utf-8")
        except OSError as error:
            raise _unusable(self._session, error) from None

    def tasks(self) -> list[str]:
        """The tasks that commands of this agent claimed and have not settled."""
        try:
            return sorted(unquote(path.name) for path in self._folder.iterdir())
        except OSError:
            return []

    def remember(self, task: str) -> None:
        """Have later commands renew a claim; without a place to remember it the lease just is not renewed."""
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._path(task).touch()

    def forget(self, task: str) -> None:
        """Stop renewing a claim."""
        with contextlib.suppress(OSError):
            self._path(task).unlink(missing_ok=True)

    def _path(self, task: str) -> Path:
        return self._folder / quote(task, safe="")


def _unusable(path: Path, error: OSError) -> UsageError:
    return UsageError(
        f"{path} cannot be used ({error.strerror}): name the session with --session or TRACECRAFT_SESSION, "
        "or set XDG_STATE_HOME to a folder that can be written"
    )
