"""An agent that fetches its inbox, says what it got, and acknowledges it only when told to: ``fetcher``."""

from __future__ import annotations

import sys

from tests.fault.programs.speech import tell
from tracecraft import InboxMessage, Session


def main() -> None:
    """Fetch for every line on stdin; ``ack`` acknowledges what was fetched last."""
    with Session() as session:
        tell("ready")
        fetched: list[InboxMessage] = []
        for line in sys.stdin:
            if line.strip() == "ack":
                tell("acked", all=all(session.ack(message) for message in fetched))
                continue
            fetched = session.inbox()
            tell("fetched", texts=[message.text for message in fetched], times=[m.delivered for m in fetched])


if __name__ == "__main__":
    main()
