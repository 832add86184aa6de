"""An agent that waits: ``waiter done|lost|message TASK SECONDS`` (wait_for) or ``waiter claim TASK SECONDS``.

What it has claimed it holds until a line comes on stdin."""

from __future__ import annotations

import sys

from tests.fault.programs.speech import facts_of, tell
from tracecraft import Session
from tracecraft_core.errors import TracecraftError


def main() -> None:
    """Say ``waiting``, wait, and say what came."""
    kind, task, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    with Session() as session:
        tell("waiting")
        try:
            if kind == "claim":
                with session.claim(task, wait=seconds) as claim:
                    tell("claimed", fence=claim.fence)
                    sys.stdin.readline()
            elif kind == "message":
                tell("woken", reason=session.wait_for(or_message=True, timeout=seconds).reason)
            else:
                result = session.wait_for(task, timeout=seconds, fail_on_lost=kind == "lost")
                tell("woken", reason=result.reason, tasks=sorted(result.tasks))
        except TracecraftError as error:
            tell("failed", **facts_of(error))


if __name__ == "__main__":
    main()
