"""An agent that reserves files and keeps them until it is killed: ``reserver LEASE GLOB...``."""

from __future__ import annotations

import sys

from tests.fault.programs.speech import facts_of, tell
from tracecraft import Session
from tracecraft_core.errors import TracecraftError


def main() -> None:
    """Reserve, then wait for the end."""
    lease, globs = float(sys.argv[1]), sys.argv[2:]
    with Session() as session:
        try:
            held = session.reservations.reserve(
                *globs, lease=lease, on_lost=lambda loss: tell("lost", **facts_of(loss))
            )
        except TracecraftError as error:
            tell("refused", **facts_of(error))
        else:
            tell("reserved", fences=[one.fence for one in held])
        sys.stdin.read()


if __name__ == "__main__":
    main()
