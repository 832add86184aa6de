"""What has been shown to the model, remembered across a crash of the sidecar.

A message is *offered* before it goes into an answer and *handed over* once the hook has printed that answer. Between
the two nobody knows whether the model reads it: it is shown again, and marked so. What was handed over is never shown
again, even while the bus cannot be told that it was read.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_MAX_BYTES: Final = 64 * 1024
"""Size above which the file is written anew, without what has been settled."""


class Shown:
    """Ids of messages that were offered or handed over, and are not acknowledged on the bus yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.offered: set[int] = set()
        self.handed: set[int] = set()
        self._load()

    def offer(self, ids: Iterable[int]) -> None:
        """Write down what is about to be shown."""
        self._enter("o", new := [id_ for id_ in ids if id_ not in self.offered])
        self.offered.update(new)

    def hand_over(self, ids: Iterable[int]) -> None:
        """The hook has printed them."""
        self._enter("h", new := [id_ for id_ in ids if id_ not in self.handed])
        self.handed.update(new)

    def forget(self, id_: int) -> None:
        """The bus knows that it was read."""
        if id_ in self.offered or id_ in self.handed:
            self.offered.discard(id_)
            self.handed.discard(id_)
            self._enter("f", [id_])

    def _enter(self, what: str, ids: list[int]) -> None:
        """Without a place to write, a crash shows a message twice; nothing else depends on it."""
        if not ids:
            return
        with contextlib.suppress(OSError):
            with open(self._path, "a", encoding="ascii", opener=_private) as file:
                file.write("".join(f"{what} {id_}\n" for id_ in ids))
                size = file.tell()
            if size > _MAX_BYTES:
                self._compact()

    def _compact(self) -> None:
        fresh = self._path.with_suffix(".new")
        lines = [*(f"o {id_}\n" for id_ in sorted(self.offered)), *(f"h {id_}\n" for id_ in sorted(self.handed))]
        with open(fresh, "w", encoding="ascii", opener=_private) as file:
            file.writelines(lines)
        fresh.replace(self._path)

    def _load(self) -> None:
        try:
            lines = self._path.read_text(encoding="ascii", errors="replace").splitlines()
        except OSError:
            return
        for line in lines:
            what, _, id_ = line.partition(" ")
            if id_.isdigit():
                self._take(what, int(id_))

    def _take(self, what: str, id_: int) -> None:
        if what == "f":
            self.offered.discard(id_)
            self.handed.discard(id_)
        elif what in ("o", "h"):
            (self.offered if what == "o" else self.handed).add(id_)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
