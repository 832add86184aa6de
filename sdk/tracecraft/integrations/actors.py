"""Names of agents: frameworks allow any text, the bus one token (`tracecraft_core.names`)."""

from __future__ import annotations

import threading
from typing import Final

from tracecraft_core import names

UNNAMED: Final = "agent"
"""The name of an agent that has none."""


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
                self._names[text] = self._free(names.agent_from_text(text) or UNNAMED)
            return self._names[text]

    def _free(self, name: str) -> str:
        taken = set(self._names.values())
        candidates = (name, *(f"{name[: names.MAX_TOKEN - 4]}-{number}" for number in range(2, 1000)))
        return next((one for one in candidates if one not in taken), name)
