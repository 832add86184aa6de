"""`Debt`: what a request that is over still has to get, and gets as soon as the disks have room for it.

First the ledger's entry, so that nothing is done twice, then the rest of the output, then the receipt. Until then the
request lies aside: its client does not wait for it, and ``relay --status`` says that a receipt is owed.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec

from tracecraft_cli.relay.folder import NO_ROOM, Suspicious
from tracecraft_cli.relay.ledger import Entry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracecraft_cli.relay.ledger import Ledger
    from tracecraft_cli.relay.papers import Answer
    from tracecraft_cli.relay.spot import Spot


class Debt:
    """Of one request. ``rest``: by its suffix, the end of an output for which there was no room."""

    def __init__(self, spot: Spot, ledger: Ledger, answer: Answer, rest: Mapping[str, bytes] | None = None) -> None:
        self.answer = answer
        self._spot, self._ledger = spot, ledger
        self._rest = {suffix: content for suffix, content in (rest or {}).items() if content}
        self.paid = False
        self.trouble = ""
        """Why it could not be paid, when it was tried last."""

    def pay(self) -> bool:
        """Give what is owed; ``False`` when some of it is still to be given."""
        try:
            self._enter()
            for suffix in list(self._rest):
                self._complete(suffix)
            self._spot.answer(self.answer)
        except (OSError, Suspicious) as error:
            self.trouble = str(error)
            with contextlib.suppress(OSError):
                self._spot.owe(self.answer.id)
        else:
            self.paid = True
        return self.paid

    def _complete(self, suffix: str) -> None:
        """Write the end of an output; one that somebody has removed or swapped meanwhile stays cut, and says so."""
        try:
            self._spot.add(f"{self.answer.id}{suffix}", self._rest[suffix])
        except (OSError, Suspicious) as error:
            if isinstance(error, OSError) and error.errno in NO_ROOM:
                raise
            self.answer = msgspec.structs.replace(self.answer, truncated=True)
        del self._rest[suffix]

    def _enter(self) -> None:
        answer = self.answer
        known = self._ledger.known(answer.id)
        if known is not None and known.state == answer.state:
            return
        self._ledger.enter(
            Entry(
                id=answer.id,
                state=answer.state,
                exit_code=answer.exit_code,
                command=answer.command,
                agent=answer.agent,
                time=answer.ended_at,
            )
        )
