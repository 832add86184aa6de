"""The rules by which secrets are taken out before anything is published."""

from __future__ import annotations

from typing import Any, Final

from tracecraft_core import values
from tracecraft_core.redaction import Redaction

redaction: Final = Redaction()
"""The default rules: what an application adds to its own is not known here."""
MARGIN: Final = 16_000
"""Characters behind a cut that are looked at too, for a secret that begins before it."""


def clean(said: str, most: int) -> str:
    """At most so many characters of a text, without secrets.

    First redacted and then cut: no rule knows the piece of a secret that a cut leaves. Of a text that is far longer not
    everything is looked at, so the last word of that part, which may be the beginning of a secret, is dropped.
    """
    if len(said) <= most + MARGIN:
        return redaction.text(said)[:most]
    part = redaction.text(said[: most + MARGIN])
    words = part[-MARGIN:].rsplit(maxsplit=1)
    return (part[:-MARGIN] + (words[0] if len(words) > 1 else ""))[:most]


def shown(found: Any) -> str:
    """Any value as the text of its JSON, without secrets, also those that only the name of their key tells."""
    return redaction.json(values.encode(found))[0].decode()


def revealed(data: bytes) -> str:
    """Bytes in hexadecimal digits, in which no rule would find a secret; as text without it where there is one."""
    said, counts = redaction.counted(data.decode("utf-8", "replace"))
    return said if counts else data.hex()
