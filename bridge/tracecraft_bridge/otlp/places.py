"""Places for connections: who has not shown the token yet takes none from those who have."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Final

KNOWN: Final = 128
"""Connections that have shown the token."""
UNKNOWN: Final = 128
"""Connections that have not; with one more the oldest of them is closed."""
PATIENCE_S: Final = 5.0
"""Seconds in which a connection has to show the token: all of its headers, however slowly they come."""


class Places:
    """Open connections, by whether they have shown the token. All times are given by the caller, in seconds."""

    def __init__(self, known: int = KNOWN, unknown: int = UNKNOWN, patience: float = PATIENCE_S) -> None:
        self._lock = threading.Lock()
        self._most_known, self._most_unknown, self._patience = known, unknown, patience
        self._unknown: dict[socket.socket, float] = {}
        """When each came, the oldest first."""
        self._known: set[socket.socket] = set()

    def enter(self, connection: socket.socket, now: float) -> None:
        """One more that nobody knows; the oldest such one goes if there are too many."""
        with self._lock:
            if len(self._unknown) >= self._most_unknown:
                self._close(next(iter(self._unknown)))
            self._unknown[connection] = now

    def admit(self, connection: socket.socket) -> bool:
        """It has shown the token; false when all places are taken, or it was closed."""
        with self._lock:
            if connection in self._known:
                return True
            if len(self._known) >= self._most_known or self._unknown.pop(connection, None) is None:
                return False
            self._known.add(connection)
            return True

    def leave(self, connection: socket.socket) -> None:
        """It is about to be closed."""
        with self._lock:
            self._unknown.pop(connection, None)
            self._known.discard(connection)

    def expire(self, now: float) -> None:
        """Close those that have not shown the token in time."""
        with self._lock:
            for connection in [one for one, came in self._unknown.items() if now - came >= self._patience]:
                self._close(connection)

    def _close(self, connection: socket.socket) -> None:
        """Its thread reads the end, and does the rest."""
        del self._unknown[connection]
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
