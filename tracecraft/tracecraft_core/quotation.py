"""How words of other agents are shown: indented under their sender's name, and without power over the terminal.

Text of a peer is data. A control character could move the cursor over a line that says otherwise, a carriage return
could overwrite the sender's name, and an invisible character could carry words that only a model reads: all of them
are shown as escapes. ``--json`` has the text as it was written.
"""

from __future__ import annotations

import unicodedata
from typing import Final

INDENT: Final = "  > "
"""In front of every line that is quoted."""
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories: control, format (direction marks, tags, zero width), surrogates, line and paragraph breaks."""
_JOINERS: Final = frozenset("\u200c\u200d")
"""Format characters that emoji and some scripts cannot do without."""


def neutral(text: str, keep: str = "") -> str:
    """The text with every invisible character but those of ``keep`` shown as an escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if char in keep or _visible(char) else _escape(char) for char in text)


def quoted(text: str) -> str:
    """Some lines of somebody else: each one indented, so that none can look like ours."""
    lines = neutral(text.replace("\r\n", "\n"), keep="\n\t").split("\n")
    return "\n".join(INDENT + line for line in lines)


def oneline(text: str, width: int) -> str:
    """The text in one line of at most ``width`` characters."""
    line = neutral(text[: width + 1])  # an escape is never shorter than what it stands for
    return line if len(line) <= width else line[: width - 1] + "…"


def _visible(char: str) -> bool:
    return char in _JOINERS or unicodedata.category(char) not in _INVISIBLE


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
