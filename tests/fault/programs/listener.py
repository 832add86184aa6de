"""An agent that listens: ``listener mail`` reads its messages, ``listener memory PATTERN`` watches keys.

Says ``ready`` when nothing that happens from now on can be missed, then each thing it hears.
"""

from __future__ import annotations

import sys

from tests.fault.programs.speech import tell
from tracecraft import Session


def main() -> None:
    """Listen until killed."""
    with Session() as session:
        if sys.argv[1] == "mail":
            tell("ready")  # the mailbox exists since the session is open
            for message in session.messages():
                tell("message", id=message.id, text=message.text, sender=message.sender)
        else:
            session.memory.set("load.first", 0)
            for entry in session.memory.watch(sys.argv[2], initial=True):
                if entry.key == "load.first":
                    tell("ready")
                else:
                    tell("entry", key=entry.key, value=entry.value, revision=entry.revision)


if __name__ == "__main__":
    main()
