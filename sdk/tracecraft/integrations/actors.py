"""Names of agents: frameworks allow any text, the bus one token (`tracecraft_core.names`)."""

from __future__ import annotations

import hashlib
import re
import threading
import unicodedata
from typing import Final

from tracecraft_core import names

UNNAMED: Final = "agent"
"""The name of an agent that has none."""


def token(text: str) -> str:
    """A text as a name on the bus: ``Senior Researcher`` is ``Senior-Researcher``; a text without letters is a hash."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", plain).strip("-")[: names.MAX_TOKEN].strip("-")
    if name:
        return name
    return f"agent-{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:8]}" if text.strip() else UNNAMED


class Actors:
    """The agents of one run; two that are not the same have two names."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._lock = threading.Lock()

    def name(self, text: str | None) -> str:
        """The name on the bus of an agent, the same one every time."""
        text = text or ""
        with self._lock:
            if text not in self._names:
                self._names[text] = self._free(token(text))
            return self._names[text]

    def _free(self, name: str) -> str:
        taken = set(self._names.values())
        candidates = (name, *(f"{name[: names.MAX_TOKEN - 4]}-{number}" for number in range(2, 1000)))
        return next((one for one in candidates if one not in taken), name)
