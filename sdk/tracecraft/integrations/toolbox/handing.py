"""`Handing`: what the result of a call gives into its caller's hands, beside words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracecraft.claim import AsyncClaim
    from tracecraft.mail import InboxMessage


@dataclass(slots=True)
class Handing:
    """Messages and new claims of one call; a caller that gives up before the result reaches it has got none of them."""

    messages: list[InboxMessage] = field(default_factory=list)
    claims: list[AsyncClaim] = field(default_factory=list)
