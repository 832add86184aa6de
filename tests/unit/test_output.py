"""What is printed has no power over the terminal, whoever wrote it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tracecraft_cli.output import emit, fail, note
from tracecraft_core.errors import UsageError

if TYPE_CHECKING:
    import pytest

HOSTILE = "a\x1b]0;owned\x07b\rc\x9b31md\u202ee\u2028f"
SHOWN = "a\\x1b]0;owned\\x07b\\rc\\x9b31md\\u202ee\\u2028f"


def test_text_shows_as_escapes_what_a_terminal_would_obey(capsys: pytest.CaptureFixture[str]) -> None:
    emit(False, None, f"first\n\t{HOSTILE}")
    assert capsys.readouterr().out == f"first\n\t{SHOWN}\n"


def test_so_do_notes_and_errors(capsys: pytest.CaptureFixture[str]) -> None:
    note(HOSTILE)
    fail(False, UsageError(HOSTILE))
    assert capsys.readouterr().err == f"{SHOWN}\ntracecraft: {SHOWN}\n"


def test_json_means_the_same_and_has_nothing_to_obey(capsys: pytest.CaptureFixture[str]) -> None:
    emit(True, {"text": HOSTILE, "word": "Süd 日本 👩‍🚀"}, None)
    line = capsys.readouterr().out
    assert json.loads(line)["result"] == {"text": HOSTILE, "word": "Süd 日本 👩‍🚀"}
    assert not any(mark in line for mark in "\x1b\x07\r\x9b\u202e\u2028")
    assert "Süd 日本" in line
