"""``python -m tracecraft_cli.sidecar``: started by the hook of a session's first event, which comes on its input."""

# ruff: noqa: TID253 - a program of its own: the command line does not import it

from __future__ import annotations

import asyncio
import logging
import logging.handlers
import os
import signal
import sys
from typing import Final

from tracecraft_cli.sidecar import event as events
from tracecraft_cli.sidecar import folder as files
from tracecraft_cli.sidecar import sidecar
from tracecraft_core import coding_session

LOG_BYTES: Final = 256 * 1024
"""Size at which the log begins anew."""


def main() -> None:
    """Serve the session of the event, unless another sidecar does."""
    event = events.decode(sys.stdin.buffer.read(events.MAX_BYTES))
    folder = coding_session.own_folder()
    if event is None or folder is None:
        return
    name = coding_session.name(event.kind, event.id)
    handle = files.lock(folder, name)
    if handle is None:
        return
    _log_to(os.path.join(folder, f"{name}.log"))
    files.sweep(folder)
    asyncio.run(_serve(event, folder, handle))


async def _serve(event: events.Event, folder: str, handle: int) -> None:
    running = sidecar.Sidecar(event, folder, handle)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, running.end, "killed")
    await running.run()


def _log_to(path: str) -> None:
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=1)
    logging.basicConfig(handlers=[handler], format="%(asctime)s %(levelname)s %(name)s: %(message)s")


if __name__ == "__main__":
    main()
