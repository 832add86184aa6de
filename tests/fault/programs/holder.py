"""An agent that holds a task and does what it is told: ``holder TASK LEASE``.

Lines on stdin: ``complete``, ``check``, ``end`` (leave the block), ``raise``; the facts of what came of it on stdout.
"""

from __future__ import annotations

import sys

from tests.fault.programs.speech import facts_of, tell
from tracecraft import Claim, Session
from tracecraft_core.errors import TracecraftError


def obey(claim: Claim, word: str) -> None:
    """Do one thing with the claim."""
    try:
        if word == "complete":
            claim.complete("as ordered")
        else:
            claim.check()
        tell(word)
    except TracecraftError as error:
        tell(word, **facts_of(error))


def main() -> None:
    """Claim, then obey until told to end."""
    task, lease = sys.argv[1], float(sys.argv[2])
    with Session() as session:
        try:
            with session.claim(task, lease=lease) as claim:
                tell("claimed", fence=claim.fence)
                for line in sys.stdin:
                    word = line.strip()
                    if word == "raise":
                        raise RuntimeError("ordered to fail")
                    if word == "end":
                        break
                    obey(claim, word)
            tell("left")
        except TracecraftError as error:
            tell("left", **facts_of(error))


if __name__ == "__main__":
    main()
