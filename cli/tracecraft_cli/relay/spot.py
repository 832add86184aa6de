"""`Spot`: a relay's folder in the workspace, from outside: taking requests, giving answers, and the beat."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING, Final

import msgspec

from tracecraft_cli.relay import papers
from tracecraft_cli.relay.folder import Folder, Suspicious
from tracecraft_cli.relay.papers import Answer, Beat, Request
from tracecraft_core import sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tracecraft_cli.relay.papers import State

TORN_S: Final = 3600.0
"""Seconds after which a request that is not whole never will be."""
KEPT: Final = 500
"""Receipts that stay for 'tracecraft relay --status'; the oldest go."""


class Spot:
    """Open folders: what is swapped for something else by name does not move them."""

    def __init__(self, workspace: Path) -> None:
        """Raises ``OSError``, `Suspicious` when something else lies where the folder should be."""
        self.workspace = workspace
        self._open()

    def _open(self) -> None:
        self._base = Folder.open(self.workspace, *sandbox.FOLDER.parts)
        if not self._base.has(".gitignore"):
            self._base.write(".gitignore", b"*\n")
        self._requests, self._taken, self._answers = (
            self._base.enter(name, make=True) for name in (papers.REQUESTS, papers.TAKEN, papers.ANSWERS)
        )

    def close(self) -> None:
        """Let go."""
        for folder in (self._requests, self._taken, self._answers, self._base):
            folder.close()

    def renew(self) -> None:
        """Open the folders anew when somebody has removed them: ``git clean`` does. Raises ``OSError``."""
        if not os.fstat(self._base.descriptor).st_nlink or not os.fstat(self._answers.descriptor).st_nlink:
            self.close()
            self._open()

    # -- the beat ------------------------------------------------------------------------------------------------

    def beat(self, beat: Beat) -> None:
        """Say that the relay lives. Raises ``OSError``."""
        if self.last_beat() != beat:
            self._base.write(papers.BEAT, msgspec.json.encode(beat))
        os.utime(papers.BEAT, dir_fd=self._base.descriptor, follow_symlinks=False)

    def silence(self) -> None:
        """Say that it has ended."""
        self._base.discard(papers.BEAT)

    # -- requests ------------------------------------------------------------------------------------------------

    def waiting(self) -> list[str]:
        """Ids of requests that nobody has taken, oldest first."""
        return [name for name in self._requests.names() if papers.ID.fullmatch(name)]

    def take(self, id_: str) -> bool:
        """Have a request be ours; ``False`` when its client has taken it back. Raises ``OSError``."""
        return self._requests.move(id_, self._taken)

    def put_back(self, id_: str) -> None:
        """Let a request wait again. Raises ``OSError``."""
        self._taken.move(id_, self._requests)

    def taken(self) -> list[str]:
        """Ids of requests that a relay has taken."""
        return [name for name in self._taken.names() if papers.ID.fullmatch(name)]

    def owe(self, id_: str) -> None:
        """Lay a request aside that is over and has no receipt yet: nobody waits for it. Raises ``OSError``."""
        self._taken.move(id_, self._taken, f"{papers.OWED}{id_}")

    def owed(self) -> list[str]:
        """Ids of requests that are over and have no receipt yet."""
        names = (name.removeprefix(papers.OWED) for name in self._taken.names() if name.startswith(papers.OWED))
        return [name for name in names if papers.ID.fullmatch(name)]

    def request(self, id_: str) -> Request:
        """A request that is ours. Raises ``OSError``, `Suspicious`."""
        with self._of(id_) as folder:
            content = folder.read(papers.REQUEST, papers.MAX_PAPER)
        try:
            request = msgspec.json.decode(content, type=Request)
        except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
            raise Suspicious(f"the request cannot be understood ({str(error)[:200]})") from None
        if request.id != id_:
            raise Suspicious(f"the request of {id_} says that it is another one")
        return request

    def copy(self, id_: str, name: str, to: Path, limit: int) -> None:
        """Copy what belongs to a request. Raises ``OSError``, `Suspicious`."""
        with self._of(id_) as folder:
            folder.copy(name, to, limit, papers.MAX_FILES)

    def deserted(self, id_: str) -> bool:
        """Whether the client that waits for it has gone: nobody holds the lock."""
        try:
            with self._of(id_) as folder:
                lock = folder.open_file(papers.CLIENT, papers.MAX_PAPER)
        except (OSError, Suspicious):
            return True
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            return True
        finally:
            os.close(lock)

    def forget(self, id_: str) -> None:
        """The request is over."""
        self._taken.discard(id_)
        self._taken.discard(f"{papers.OWED}{id_}")

    @contextlib.contextmanager
    def _of(self, id_: str) -> Iterator[Folder]:
        with contextlib.closing(self._taken.enter(id_)) as folder:
            yield folder

    # -- answers -------------------------------------------------------------------------------------------------

    def outputs(self, id_: str) -> tuple[int, int]:
        """Descriptors of two new files for what a command prints. Raises ``OSError``."""
        out = self._answers.create(f"{id_}{papers.OUT}")
        try:
            return out, self._answers.create(f"{id_}{papers.ERR}")
        except OSError:
            os.close(out)
            raise

    def add(self, name: str, content: bytes) -> None:
        """Write all of this at the end of an output, or nothing. Raises ``OSError``, `Suspicious`."""
        self._answers.add(name, content)

    def answer(self, answer: Answer) -> None:
        """Give an answer, and forget the request. Raises ``OSError``."""
        self._answers.write(f"{answer.id}{papers.RECEIPT}", msgspec.json.encode(answer))
        self.forget(answer.id)

    def answered(self, id_: str) -> bool:
        """Whether there is a receipt."""
        return self._answers.has(f"{id_}{papers.RECEIPT}")

    def prune(self) -> None:
        """Remove the oldest receipts when there are many, and what clients left that were killed while they wrote."""
        for name in self._requests.names():
            with contextlib.suppress(FileNotFoundError):
                if name.startswith(".") and time.time() - self._requests.touched(name) > TORN_S:
                    self._requests.discard(name)
        ids = [name.removesuffix(papers.RECEIPT) for name in self._answers.names() if name.endswith(papers.RECEIPT)]
        for id_ in ids[:-KEPT]:
            for suffix in (papers.OUT, papers.ERR, papers.RECEIPT):
                self._answers.discard(f"{id_}{suffix}")

    # -- reading, for people -------------------------------------------------------------------------------------

    def standing(self, id_: str, state: State) -> Request | None:
        """A request that is queued, runs, or is owed its receipt; ``None`` when it cannot be read."""
        name = f"{papers.OWED}{id_}" if state == "owed" else id_
        try:
            with contextlib.closing((self._requests if state == "queued" else self._taken).enter(name)) as folder:
                return msgspec.json.decode(folder.read(papers.REQUEST, papers.MAX_PAPER), type=Request)
        except (OSError, Suspicious, msgspec.MsgspecError, RecursionError, UnicodeError):
            return None

    def receipts(self) -> list[Answer]:
        """Every receipt that can be read, oldest first."""
        found = []
        for name in self._answers.names():
            if name.endswith(papers.RECEIPT) and papers.ID.fullmatch(name.removesuffix(papers.RECEIPT)):
                with contextlib.suppress(OSError, Suspicious, msgspec.MsgspecError, RecursionError, UnicodeError):
                    found.append(msgspec.json.decode(self._answers.read(name, papers.MAX_PAPER), type=Answer))
        return found

    def printed(self, id_: str, suffix: str, limit: int) -> str:
        """The beginning of what a command has printed."""
        with contextlib.suppress(OSError, Suspicious):
            file = self._answers.open_file(f"{id_}{suffix}", 1 << 40)
            try:
                return os.read(file, limit).decode("utf-8", "replace")
            finally:
                os.close(file)
        return ""

    def alive(self) -> bool:
        """Whether a relay has said so just now."""
        with contextlib.suppress(OSError):
            return papers.fresh(self._base.touched(papers.BEAT))
        return False

    def last_beat(self) -> Beat | None:
        """What the relay has said last."""
        try:
            return msgspec.json.decode(self._base.read(papers.BEAT, papers.MAX_PAPER), type=Beat)
        except (OSError, Suspicious, msgspec.MsgspecError):
            return None

    def spool(self) -> Folder | None:
        """What runs have recorded; ``None`` when nothing has. Raises `Suspicious`."""
        try:
            return self._base.enter(sandbox.SPOOL)
        except OSError:
            return None
