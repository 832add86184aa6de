"""Brings back servers that die: at once after a long life, after a growing pause when they die young.

A server that runs but cannot write since its disk was full is restarted once there is space, with a growing pause too.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from tracecraft_core.errors import StackError
from tracecraft_stack.files import has_space
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

EXAMINE_S: Final = 5.0
"""How often a server is asked whether it ails."""

FIRST_REST_S: Final = 30.0
LONGEST_REST_S: Final = 3600.0
"""Seconds between two restarts of a server that ails again after the first."""


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
        deaths, since, care = 0, time.monotonic(), Care(server, self._report)
        while not self._over.wait(WATCH_S):
            if not self._enabled.is_set():
                continue
            if not server.died:
                care.examine()
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


class Care:
    """Ends a server that ails, once its disk has space, so that its watch starts it anew; seldom, and tells of it."""

    def __init__(self, server: Server, report: Report) -> None:
        self._server, self._report = server, report
        self._told, self._ended = "", 0
        self._next, self._not_before = time.monotonic() + EXAMINE_S, 0.0

    def examine(self) -> None:
        """Asks the server, if it is time to."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + EXAMINE_S
        ailment = self._server.ailment()
        if not ailment:
            self._told = ""
            self._ended = self._ended if now < self._not_before else 0
        elif not _writable(self._server):
            self._tell(f"{ailment}; it is restarted when the disk of {self._server.folder} has space again")
        elif now >= self._not_before:
            self._tell(f"{ailment}; there is space again: restarting it")
            self._not_before = now + rest(self._ended)
            self._ended += 1
            self._server.end_for_restart()

    def _tell(self, detail: str) -> None:
        if detail != self._told:
            self._report(StackEvent(self._server.name, Change.NOTICE, detail=detail))
        self._told = detail


def _writable(server: Server) -> bool:
    try:
        return has_space(server.folder)
    except StackError:
        return False


def rest(ended: int) -> float:
    """Seconds to leave a server alone after its restart, when ``ended`` came just before."""
    return min(LONGEST_REST_S, FIRST_REST_S * 2.0 ** min(ended, 10))


def _pause(deaths: int) -> float:
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (deaths - 1)) if deaths else 0.0
