"""The supervisor in the background: ``python -m tracecraft_stack <pipe> <options>``, started by `detach`."""

from __future__ import annotations

import logging
import os
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from tracecraft_core.errors import TracecraftError
from tracecraft_stack.background import News
from tracecraft_stack.foreground import run_foreground
from tracecraft_stack.options import load_options

if TYPE_CHECKING:
    from tracecraft_core.local import StackState
    from tracecraft_stack.options import StackEvent

_log = logging.getLogger("tracecraft_stack")


class Starter:
    """Tells the command that started us what happens, until it has heard enough; and the log all of it."""

    def __init__(self, pipe: int) -> None:
        self._pipe, self._writing = pipe, threading.Lock()
        os.set_inheritable(pipe, False)

    def event(self, event: StackEvent) -> None:
        """Something happened to a server."""
        _log.info("%s %s after %.2f s %s", event.server, event.change, event.seconds, event.detail)
        self._tell(News(event=event))

    def ready(self, state: StackState) -> None:
        """Everything is up."""
        self._tell(News(state=state))
        self.close()

    def failed(self, error: str) -> None:
        """The stack did not come up."""
        _log.error("%s", error)
        self._tell(News(error=error))
        self.close()

    def close(self) -> None:
        """It will hear no more."""
        with self._writing:
            if self._pipe >= 0:
                os.close(self._pipe)
                self._pipe = -1

    def _tell(self, news: News) -> None:
        with self._writing, suppress(BrokenPipeError):
            if self._pipe >= 0:
                os.write(self._pipe, msgspec.json.encode(news) + b"\n")


def main(pipe: str, options: str) -> int:
    """Runs the stack until it is stopped; the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    starter = Starter(int(pipe))
    try:
        run_foreground(load_options(options), starter.event, starter.ready)
    except TracecraftError as error:
        starter.failed(str(error))
        return error.exit_code
    except Exception as error:
        _log.exception("unexpected")
        starter.failed(f"the supervisor failed: {error!r}")
        return 1
    starter.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
