"""The state from entries that are not as tracecraft writes them."""

from __future__ import annotations

import base64

import pytest

from tests.support.recorded import Recording
from tracecraft_core import cut
from tracecraft_core.queries import Entry


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"text":"a\\u0000b","kind":"question"}', "a\0b"),  # PostgreSQL's jsonb has no NUL: it is kept raw
        (b"plain words", "plain words"),
        (b"\xff", "\ufffd"),
    ],
)
def test_message_that_is_kept_raw_has_its_text(body: bytes, text: str) -> None:
    raw = base64.b64encode(body).decode()
    entry = Entry(seq=5, time="2026-11-22T20:00:00Z", subject="tc.p.msg.bob.ann", raw=raw)
    [mail] = cut.fold(cut.empty(), [entry]).mailboxes["bob"]
    assert mail.text == text


def test_state_that_was_folded_on_is_not_changed() -> None:
    tape = Recording()
    tape.memory("a", "k", 1)
    tape.message("a", "b", "one")
    before = cut.fold(cut.empty(), tape.entries)
    tape.memory("a", "k", 2)
    tape.receipt("b", "a", 20)
    after = cut.fold(before, tape.entries[2:])
    assert (before.memory["k"].value, len(before.mailboxes["b"])) == (1, 1)
    assert (after.memory["k"].value, after.mailboxes["b"]) == (2, [])
