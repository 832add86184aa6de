"""Brings back servers that die: at once after a long life, after a growing pause when they die young."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from tracecraft_core.errors import StackError
from tracecraft_stack.options import Change, StackEvent

if TYPE_CHECKING:
    from tracecraft_stack.options import Report
    from tracecraft_stack.server import Server

WATCH_S: Final = 0.1
"""How often a server is looked at for having died."""

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0

STEADY_S: Final = 60.0
"""A server that ran this long starts over with no pause when it dies."""


class Watch:
    """Watches servers, each from a thread of its own: a slow start of one does not delay another.

    Args:
        servers: all of them started.
        report: told of every death and every return.
        enabled: set while dead servers are to be brought back.
    """

    def __init__(self, servers: list[Server], report: Report, enabled: threading.Event) -> None:
        self._report, self._enabled = report, enabled
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._guard, args=(server,), name=f"watch-{server.name}", daemon=True)
            for server in servers
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Stops watching; a start under way is given up."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _guard(self, server: Server) -> None:
        deaths, since = 0, time.monotonic()
        while not self._over.wait(WATCH_S):
            if not (self._enabled.is_set() and server.died):
                continue
            deaths = 0 if time.monotonic() - since > STEADY_S else deaths
            self._report(StackEvent(server.name, Change.DIED, detail=server.ending))
            deaths = self._revive(server, deaths)
            since = time.monotonic()

    def _revive(self, server: Server, deaths: int) -> int:
        """Tries until it is up, or there is no wish for it any more; the number of deaths so far."""
        while not self._over.wait(_pause(deaths)) and self._enabled.is_set() and server.wanted:
            deaths += 1
            try:
                seconds = server.start(self._over)
            except StackError as error:
                if not self._over.is_set():
                    self._report(StackEvent(server.name, Change.FAILED, detail=str(error)))
            else:
                self._report(StackEvent(server.name, Change.RESTARTED, seconds))
                break
        return deaths


def _pause(deaths: int) -> float:
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (deaths - 1)) if deaths else 0.0
