"""Names under which a secret is kept, in any spelling: ``secretKey``, ``DB_PASS``, ``api-key``."""

from __future__ import annotations

import functools
import itertools
import re
from typing import Final

from tracecraft_core.redaction_rules import OPTIONS

ANCHORS: Final = (
    *(b"assw", b"assphrase", b'pass"', b'Pass"', b'pwd"', b'Pwd"', b"ecret", b"key", b"Key", b"oken"),
    *(b"redential", b"uthorization", b"ookie"),
    *(b"PASS", b"PWD", b"ECRET", b"KEY", b"OKEN", b"REDENTIAL", b"UTHORIZATION", b"OOKIE"),
)
"""One of these is in the JSON of whatever has such a name."""
NAMING: Final = ("name", "Name", "key", "Key")
"""Keys of a pair under which its name stands: ``{"name": "DB_PASSWORD", "value": "…"}``."""
HOLDING: Final = ("value", "Value", "values", "secret", "plaintext", "data", "current", "previous", "old", "new")
"""Keys under which a value stands that is kept with what tells of it; not ``type`` and ``description`` of a schema."""

_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SECRETS: Final = frozenset(
    [
        *("password", "passwords", "passwd", "pwd", "passphrase", "secret", "secrets", "credential", "credentials"),
        *("authorization", "cookie", "cookies", "apikey", "accesskey", "privatekey", "secretkey"),
    ]
)
_LAST: Final = frozenset(("pass", "token"))
"""Words that make a name secret only as its last one: not ``token_count``."""
_ORDINALS: Final = frozenset(["first", "second", "third", "last", "next", "previous", "single", "forward", "backward"])
"""Words in front of these two that make them harmless: a backward pass, the next token."""
_KEYS: Final = frozenset(("api", "access", "account", "private", "session", "signing", "encryption"))
"""Words that do so in front of ``key``."""
_DESCRIBING: Final = frozenset(
    [
        *("id", "name", "file", "path", "type", "count", "length", "policy", "hint", "arn", "url", "ref", "version"),
        *("expiry", "expires", "age", "limit", "usage"),
    ]
)
"""Last words of names that only tell of a secret."""
_NUMBERS: Final = frozenset(("password", "passwd", "passphrase", "passcode", "pwd"))
"""Last words of names under which a number is a secret too, and no count."""
_SHORTEST_NUMBER: Final = 4
"""Digits of such a number."""
_OPTION: Final = re.compile(rf"--(?:[a-z]+-)*{OPTIONS}")
_NEXT_OPTION: Final = re.compile(r"-[A-Za-z]{0,5}\d{0,5}(?:=.*)?|--.*", re.DOTALL)
"""What follows an option that has no value: dashes and a few letters."""


@functools.lru_cache(maxsize=4096)
def is_secret(key: str) -> bool:
    """Whether what has this name is meant to be secret."""
    words = [word.lower() for word in _WORDS.findall(key)]
    if not words or words[-1] in _DESCRIBING:
        return False
    if words[-1] in _LAST:
        return len(words) < 2 or words[-2] not in _ORDINALS
    pairs = itertools.pairwise(words)
    return any(word in _SECRETS for word in words) or any(one in _KEYS and two == "key" for one, two in pairs)


def is_harmless(key: str, item: str) -> bool:
    """A single word under ``token`` is one of a language; ``PWD`` is a folder."""
    name = key.lower()
    if name.endswith("token"):
        return len(item) < 12 or any(letter.isspace() for letter in item)
    return name.endswith("pwd") and item[0] in "/~"


def hides_number(key: str, item: int) -> bool:
    """Whether a number under this name is a password."""
    words = _WORDS.findall(key)
    return bool(words) and words[-1].lower() in _NUMBERS and abs(item) >= 10 ** (_SHORTEST_NUMBER - 1)


def follows_option(option: str, item: str) -> bool:
    """Whether an argument is the secret of the option before it."""
    return _OPTION.fullmatch(option) is not None and _NEXT_OPTION.fullmatch(item) is None
