"""How a message is shown: a header of ours, then the sender's words, quoted; or whole as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracecraft_cli.ages import ago
from tracecraft_cli.output import compact
from tracecraft_core.quotation import neutral, quoted

if TYPE_CHECKING:
    from tracecraft import InboxMessage


def shown(message: InboxMessage, now: str) -> str:
    """A message for people and models: who and when in one line, then the words, each line indented."""
    lines = [header(message, now), quoted(message.text)]
    if message.data is not None:
        lines.append(quoted(f"data: {compact(message.data)}"))
    return "\n".join(lines)


def header(message: InboxMessage, now: str) -> str:
    """``#12 from writer · 8 s ago · question · thread plan · answers #9``; what is usual is left out."""
    words = [
        f"#{message.id} from {neutral(message.sender)}",
        ago(message.time, now),
        "to all" if message.to is None else "",
        message.kind if message.kind != "note" else "",
        f"thread {message.thread}" if message.thread else "",
        f"answers #{message.reply_to}" if message.reply_to is not None else "",
    ]
    return " · ".join(neutral(word) for word in words if word)


def as_json(message: InboxMessage) -> dict[str, Any]:
    """A message as its sender wrote it."""
    return {
        "id": message.id,
        "from": message.sender,
        "to": message.to,
        "text": message.text,
        "kind": message.kind,
        "thread": message.thread,
        "reply_to": message.reply_to,
        "data": message.data,
        "time": message.time,
        "delivered": message.delivered,
    }
