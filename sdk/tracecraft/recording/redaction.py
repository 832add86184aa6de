"""Redaction: what looks like a secret is replaced before anything leaves the process.

Every rule has *anchors*, short texts of which one must occur wherever the rule applies. A value without any anchor, and
nearly every one is, costs a few substring searches on its JSON and nothing more.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tracecraft.recording import values
from tracecraft_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Rule:
    """What to replace in every text. Where the pattern has a group, only the group is replaced."""

    name: str
    pattern: re.Pattern[str]
    anchors: tuple[bytes, ...]
    """One of these is in the JSON of whatever it applies to; none: it is always tried."""


def _rule(name: str, pattern: str, *anchors: str) -> Rule:
    return Rule(name, re.compile(pattern), tuple(anchor.encode() for anchor in anchors))


_NAMES: Final = r"passw(?:or)?d|passphrase|secret|api[_-]?key|credentials?|private[_-]?key"
_VALUE: Final = r"[^\s\"',;&]"

DEFAULTS: Final = (
    _rule("api-key", r"\bsk-[A-Za-z0-9_-]{16,}", "sk-"),
    _rule("aws-key", r"\bA(?:KIA|SIA)[0-9A-Z]{16}\b", "AKIA", "ASIA"),
    _rule("github-token", r"\bgh[pousr]_[A-Za-z0-9]{30,}", "ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
    _rule("github-token", r"\bgithub_pat_[A-Za-z0-9_]{30,}", "github_pat_"),
    _rule("gitlab-token", r"\bglpat-[A-Za-z0-9_-]{20,}", "glpat-"),
    _rule("slack-token", r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}", "xox"),
    _rule("google-key", r"\bAIza[A-Za-z0-9_-]{35}", "AIza"),
    _rule("stripe-key", r"\b[rsw]h?k?_(?:live|test)_[A-Za-z0-9]{16,}", "k_live_", "k_test_"),
    _rule("huggingface-token", r"\bhf_[A-Za-z0-9]{30,}", "hf_"),
    _rule("registry-token", r"\b(?:npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{50,})", "npm_", "pypi-"),
    _rule("jwt", r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*", "eyJ"),
    _rule(
        "private-key",
        r"-----BEGIN [A-Z ]*(?:PRIVATE KEY|NKEY SEED)-----[\s\S]*?(?:-----+END [A-Z ]*-----+|\Z)",
        "PRIVATE KEY",
        "NKEY SEED",
    ),
    _rule("nkey-seed", r"\bS[UAO]A[A-Z2-7]{55}\b", "SUA", "SAA", "SOA"),
    _rule("url-password", r"://[^/\s:@\"']*:([^/\s@\"']+)@", "://"),
    _rule("bearer", r"(?i)\b(?:bearer|basic)\s+([A-Za-z0-9._~+/=-]{12,})", "earer ", "asic ", "EARER "),
    _rule(
        "assignment",
        rf"(?i)(?:{_NAMES})[\"']?\s*[=:]\s*[\"']?(?!\[redacted)(?={_VALUE}*[^\d\s\"',;&.])({_VALUE}{{6,}})",
        "assw", "ecret", "key", "Key", "redential", "assphrase", "ASSW", "ECRET", "KEY", "REDENTIAL", "ASSPHRASE",
    ),
    _rule(
        "assignment",
        rf"(?i)token[\"']?\s*[=:]\s*[\"']?(?!\[redacted)(?={_VALUE}*\d)(?={_VALUE}*[a-z])({_VALUE}{{12,}})",
        "oken", "OKEN",
    ),
)  # fmt: skip
"""The rules that are on unless they are switched off."""

_SECRET_KEY: Final = re.compile(
    rf"(?i:(?:^|[_.\s-])(?:{_NAMES}|token|authorization|set-cookie|cookie)$)"
    "|[a-z](?:Token|Secret|Password|ApiKey|PrivateKey)$"
)
_KEY_ANCHORS: Final = (
    *(b"assw", b"ecret", b"key", b"Key", b"oken", b"redential", b"uthorization", b"ookie", b"assphrase"),
    *(b"ASSW", b"ECRET", b"KEY", b"OKEN", b"REDENTIAL", b"UTHORIZATION", b"ASSPHRASE"),
)
KEY_RULE: Final = "key"
"""Name under which values are counted that were replaced because of the name of their key."""


class Redaction:
    """The rules of this process: ``tracecraft.redact.add(r"ACME-[0-9]{8}")``.

    What a rule finds becomes ``[redacted:<rule>]``; so does the text under a key like ``password`` or ``api_key``.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        """How many times each rule has replaced something in this process."""
        self._set(DEFAULTS)

    def _set(self, rules: tuple[Rule, ...]) -> None:
        self._clean: dict[str, str] = {}
        self.rules = rules
        self._keys = DEFAULTS[0] in rules
        found = [anchor for rule in rules for anchor in rule.anchors] + list(_KEY_ANCHORS if self._keys else ())
        self._groups = _groups(_fewest(list(dict.fromkeys(found))))
        self._always = any(not rule.anchors for rule in rules)

    def add(self, pattern: str | re.Pattern[str], *, name: str = "own", anchor: str | None = None) -> None:
        """Also replace what a regular expression finds; where it has a group, only the group.

        ``anchor`` is a text that is part of everything it finds: with one, values without it are not searched, which
        keeps logging cheap. Raises `UsageError` for a pattern that is none.
        """
        try:
            compiled = re.compile(pattern)
        except (re.error, TypeError) as error:
            raise UsageError(f"{pattern!r} is not a regular expression: {error}") from None
        anchors = () if anchor is None else (values.encode(anchor)[1:-1],)
        with self._lock:
            self._set((*self.rules, Rule(name, compiled, anchors)))

    def reset(self) -> None:
        """Go back to the default rules."""
        with self._lock:
            self._set(DEFAULTS)

    def off(self) -> None:
        """Drop all rules, the default ones too."""
        with self._lock:
            self._set(())

    def json(self, body: bytes) -> tuple[bytes, dict[str, int]]:
        """JSON without secrets, and how many times each rule replaced something."""
        if not self._always and not self._anchored(body):
            return body, _NOTHING
        return self._search(body)

    def _anchored(self, body: bytes) -> bool:
        """Whether any rule may have something to replace."""
        for letter, anchors in self._groups:
            if (letter in body) if letter else not body.islower():
                for anchor in anchors:
                    if anchor in body:
                        return True
        return False

    def text(self, value: str) -> str:
        """A text without secrets. Short texts are remembered: names come again and again."""
        known = self._clean.get(value)
        if known is not None:
            return known
        body, counts = self.json(values.encode(value))
        cleaned: str = value if not counts else msgspec.json.decode(body)
        if len(value) <= 256 and not counts:
            if len(self._clean) >= 4096:
                self._clean.clear()
            self._clean[value] = cleaned
        return cleaned

    def _search(self, body: bytes) -> tuple[bytes, dict[str, int]]:
        """The slow way: decode, look at every text and key, and encode again if something was found."""
        rules = [rule for rule in self.rules if not rule.anchors or any(anchor in body for anchor in rule.anchors)]
        try:
            value = msgspec.json.decode(body)
        except (msgspec.MsgspecError, RecursionError):
            return body, _NOTHING
        counts: Counter[str] = Counter()
        cleaned = _walk(value, lambda text: _apply(rules, text, counts), counts if self._keys else None)
        if not counts:
            return body, _NOTHING
        with self._lock:
            self.counts.update(counts)
        return values.encode(cleaned), dict(counts)


_NOTHING: Final[dict[str, int]] = {}


def _fewest(anchors: list[bytes]) -> tuple[bytes, ...]:
    """Anchors without those that contain another one."""
    return tuple(one for one in anchors if not any(other in one for other in anchors if other != one))


def _groups(anchors: tuple[bytes, ...]) -> tuple[tuple[bytes, tuple[bytes, ...]], ...]:
    """Anchors by what JSON must have for any of them to be in it: this character, or (empty) a capital letter."""
    groups: dict[bytes, list[bytes]] = {}
    for anchor in anchors:
        letter = next((letter for letter in (b"_", b"-", b":") if letter in anchor), None)
        groups.setdefault(letter or (b"" if anchor != anchor.lower() else b'"'), []).append(anchor)
    return tuple((letter, tuple(members)) for letter, members in groups.items())


def _apply(rules: list[Rule], text: str, counts: Counter[str]) -> str:
    for rule in rules:
        mark = f"[redacted:{rule.name}]"
        text, found = rule.pattern.subn(lambda hit, mark=mark: _replaced(hit, mark), text)  # type: ignore[misc]
        if found:
            counts[rule.name] += found
    return text


def _replaced(hit: re.Match[str], mark: str) -> str:
    if not hit.re.groups or hit.group(1) is None:
        return mark
    whole, (start, end) = hit.group(), hit.span(1)
    return whole[: start - hit.start()] + mark + whole[end - hit.start() :]


def _walk(value: Any, clean: Callable[[str], str], counts: Counter[str] | None) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [_walk(item, clean, counts) for item in value]
    if isinstance(value, dict):
        return {clean(key): _under(key, item, clean, counts) for key, item in value.items()}
    return value


def _under(key: str, item: Any, clean: Callable[[str], str], counts: Counter[str] | None) -> Any:
    cleaned = _walk(item, clean, counts)
    if counts is None or not isinstance(item, str) or cleaned != item or not _secret(key, item):
        return cleaned
    counts[KEY_RULE] += 1
    return f"[redacted:{KEY_RULE}]"


def _secret(key: str, item: str) -> bool:
    """Whether the text under a key is meant to be secret; a single word under ``token`` is one of a language."""
    if not item or not _SECRET_KEY.search(key):
        return False
    return not key.lower().endswith("token") or (len(item) >= 12 and not any(letter.isspace() for letter in item))


redact: Final = Redaction()
"""The rules of this process."""
