"""An agent that writes without pause until told to stop: ``publisher TO JOURNAL``.

Every acknowledgement goes into the journal at once: ``message <sequence> <text>`` or ``memory <revision> <number>``.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from tests.fault.programs.speech import tell
from tracecraft import Session

PAUSE_S = 0.003


def _await_word(stop: threading.Event) -> None:
    sys.stdin.readline()
    stop.set()


def main() -> None:
    """Write until a line comes on stdin, then say how much was acknowledged."""
    to, journal = sys.argv[1], Path(sys.argv[2])
    stop = threading.Event()
    threading.Thread(target=_await_word, args=(stop,), daemon=True).start()
    with Session() as session, journal.open("a", buffering=1) as file:
        tell("ready")
        number = 0
        while not stop.is_set():
            number += 1
            text = f"{session.agent}-{number}"
            file.write(f"message {session.send(to, text).id} {text}\n")
            file.write(f"memory {session.memory.set(f'load.{session.agent}', number)} {number}\n")
            time.sleep(PAUSE_S)
        tell("stopped", written=number)


if __name__ == "__main__":
    main()
