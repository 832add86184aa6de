"""Messages, and what their readers did with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from tracecraft_bridge.projection.copy_text import NULL, number, stamp, text
from tracecraft_bridge.projection.entry import run_and_step
from tracecraft_bridge.projection.poison import MAX_BIGINT, Poison, decode
from tracecraft_core import bodies
from tracecraft_core.run_events import PREVIEW

if TYPE_CHECKING:
    from tracecraft_bridge.projection.batch import Batch
    from tracecraft_bridge.projection.entry import Entry

COPY_MESSAGES: Final = (
    "COPY message (project, epoch, seq, time, sender, recipient, kind, thread, reply_to, run, step, size, preview) "
    "FROM STDIN"
)
COPY_DELIVERIES: Final = "COPY delivery (project, message, reader, state, epoch, seq, time) FROM STDIN"

_MESSAGE: Final = msgspec.json.Decoder(bodies.Message)
_RECEIPT: Final = msgspec.json.Decoder(bodies.Receipt)


def on_message(batch: Batch, entry: Entry) -> None:
    """A message to one or to all; what is not one of ours is taken as plain text, as its readers do."""
    parts = entry.parts
    try:
        message = decode(_MESSAGE, entry.body)
    except Poison:
        message = bodies.Message(text=entry.body.decode("utf-8", "replace").replace("\x00", ""))
    reply_to = message.reply_to if message.reply_to is not None and abs(message.reply_to) <= MAX_BIGINT else None
    run, step = run_and_step(entry.headers) if entry.headers else (None, None)
    batch.messages.append(
        f"{text(parts.project)}\t{entry.epoch}\t{entry.seq}\t{stamp(entry.time)}\t{text(parts.agent)}\t"
        f"{text(parts.recipient)}\t{text(message.kind[:100])}\t"
        f"{NULL if message.thread is None else text(message.thread[:500])}\t{number(reply_to)}\t{run or NULL}\t"
        f"{step or NULL}\t{entry.size}\t{text(message.text[:PREVIEW])}\n"
    )


def on_receipt(batch: Batch, entry: Entry) -> None:
    """``fetched``, ``acked`` or ``expired``; anything else stays in the log only."""
    try:
        receipt = decode(_RECEIPT, entry.body)
    except Poison:
        return
    if 0 < receipt.id <= MAX_BIGINT:
        parts = entry.parts
        batch.deliveries.append(
            f"{text(parts.project)}\t{receipt.id}\t{text(parts.agent)}\t{receipt.state}\t{entry.epoch}\t{entry.seq}\t"
            f"{stamp(entry.time)}\n"
        )
