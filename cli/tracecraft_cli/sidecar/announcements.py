"""Which of the unread messages the model has been told of, each once: that they are there and from whom.

An announcement names all that waits, so the highest id that was announced tells what was: it is written into the
session's state, and a sidecar that comes after a killed one goes on from there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracecraft.unread import Envelope, Unread


class Announcements:
    """What was announced of the mail that waits."""

    def __init__(self, unread: Unread, announced: int, on_announced: Callable[[int], None]) -> None:
        """``announced``: the highest id of which the model knows; ``on_announced`` is told the next one."""
        self._unread = unread
        self._announced, self._on_announced = announced, on_announced
        self._announcing = False

    def due(self) -> list[Envelope]:
        """What waits and has not been announced; nothing while a hook is about to print an announcement."""
        return [] if self._announcing else [one for one in self._unread.waiting() if one.id > self._announced]

    def begin(self) -> None:
        """A hook is about to print what is not announced."""
        self._announcing = True

    def end(self, envelopes: list[Envelope], *, printed: bool) -> None:
        """The hook has printed it, or nobody knows."""
        self._announcing = False
        if printed and envelopes and envelopes[-1].id > self._announced:
            self._announced = envelopes[-1].id
            self._on_announced(self._announced)

    def begin_anew(self) -> None:
        """The model has forgotten what was announced."""
        self._announced = 0
