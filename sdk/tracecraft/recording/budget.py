"""How much a process may leave in its spool."""

from __future__ import annotations

import logging
import os
import re
import threading
from typing import Final

logger = logging.getLogger(__name__)

VARIABLE: Final = "TRACECRAFT_SPOOL_LIMIT"
"""Bytes, or with a unit: ``64M``, ``2GiB``."""
DEFAULT: Final = 256 * 1024 * 1024
MEMORY: Final = 64 * 1024 * 1024
"""Most bytes of it that are kept in memory where no file can be written."""

_told: Final[set[str]] = set()
"""Limits that are none, and that people know of."""
_UNITS: Final = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


class Budget:
    """Bytes that are taken and given back; thread-safe."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._taken = 0
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Take ``size`` bytes, if so many are left."""
        with self._lock:
            if self._taken + size > self.limit:
                return False
            self._taken += size
            return True

    def take_anyway(self, size: int) -> None:
        """Take them also when they are not left."""
        with self._lock:
            self._taken += size

    def give(self, size: int) -> None:
        """Give back what was taken."""
        with self._lock:
            self._taken -= size


def limit() -> int:
    """The limit in bytes, from the environment."""
    text = os.environ.get(VARIABLE, "")
    found = re.fullmatch(r"\s*(\d+)\s*([kmg]?)(?:i?b)?\s*", text, re.IGNORECASE)
    if found:
        return int(found[1]) * _UNITS[found[2].lower()]
    if text and text not in _told:
        _told.add(text)
        logger.warning(
            "%s=%r is no size like 64M or 2G: the default of %dM counts", VARIABLE, text, DEFAULT // _UNITS["m"]
        )
    return DEFAULT


disk = Budget(limit())
"""Of the process's files."""
memory = Budget(MEMORY)
"""Of what it keeps in memory in their place."""


def renew() -> None:
    """Begin anew: in a forked child, and when the environment has changed."""
    global disk, memory
    disk, memory = Budget(limit()), Budget(min(MEMORY, limit()))


os.register_at_fork(after_in_child=renew)
