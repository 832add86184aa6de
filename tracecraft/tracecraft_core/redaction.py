"""Redaction: what looks like a secret is replaced before anything leaves the process.

Every rule has *anchors*, short texts of which one must occur wherever the rule applies. A value without any anchor, and
nearly every one is, costs a few substring searches on its JSON and nothing more.
"""

from __future__ import annotations

import functools
import itertools
import re
import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tracecraft_core import values
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


_NAMES: Final = (
    r"passw(?:or)?d|passphrase|secret|(?:api|access|private|session)[_-]?key|credentials?"  # of JSON and of YAML
)
_VARIABLES: Final = (
    r"PASSW(?:OR)?D|PASSPHRASE|(?<![A-Z])PASS|_PWD|SECRET|TOKEN|(?:API|ACCESS|PRIVATE|SESSION|SIGNING|ENCRYPTION)_?KEY"
    r"|CREDENTIALS?|AUTHORIZATION|COOKIE"
)
_OPTIONS: Final = (
    r"(?:password|passwd|passphrase|pass|pwd|secret|token|(?:api|access|private|secret|session|auth)-?key|credentials?)"
)
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
    _rule("url-password", r"://[^/\s:@\"']*:([^/\s\"'?#]+)@", "://"),
    _rule("bearer", r"(?i)\b(?:bearer|basic)\s+([A-Za-z0-9._~+/=-]{12,})", "earer ", "asic ", "EARER "),
    _rule(
        "assignment",
        rf"(?:{_VARIABLES})(?:_?KEY|_BASE|_VALUE|_?[0-9])*=[\"']?(?!\[redacted)((?<=[\"'])[^\"'\n]+|[^\s\"';]+)",
        *("PASS", "_PWD", "SECRET", "TOKEN", "KEY", "CREDENTIAL", "AUTHORIZATION", "COOKIE"),
    ),
    _rule(
        "option",
        rf"--(?:[a-z]+-)*{_OPTIONS}(?:=|\s+)[\"']?(?!-|\[redacted)((?<=[\"'])[^\"'\n]+|[^\s\"']+)",
        *("--",),
    ),
    _rule("option", r"\b(?:mysql|mariadb)[a-z-]*\b[^\n|;]*?\s-p([^\s\"']+)", " -p"),
    _rule("option", r"\bsshpass\s+-p\s*[\"']?([^\s\"']+)", " -p"),
    _rule(
        "option",
        r"\bcurl\b[^\n|;]*?\s(?:-[a-zA-Z]*[uU]|--(?:proxy-)?user)[\s=]*[\"']?"
        r"[^\s:\"'-][^\s:\"']*:(?!\[redacted)([^\s\"']+)",
        "curl",
    ),
    _rule("cookie", r"(?i)\bcookie:\s*(?!\[redacted)([^\r\n\"']+)", "ookie:", "OOKIE:"),
    _rule(
        "assignment",
        rf"(?i)(?:{_NAMES})(?:[_-]?key)?[\"']?\s*[=:]\s*[\"']?(?!\[redacted)(?={_VALUE}*[^\d\s\"',;&.])({_VALUE}{{6,}})",
        "assw", "ecret", "key", "Key", "redential", "assphrase", "PASS", "ECRET", "KEY", "REDENTIAL",
    ),
    _rule(
        "assignment",
        rf"(?i)token[\"']?\s*[=:]\s*[\"']?(?!\[redacted)(?={_VALUE}*\d)(?={_VALUE}*[a-z])({_VALUE}{{12,}})",
        "oken", "OKEN",
    ),
)  # fmt: skip
"""The rules that are on unless they are switched off."""

_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
"""The words of a name in any spelling: ``secretKey``, ``DB_PASS``, ``api-key``."""
_SECRETS: Final = frozenset(
    [
        "password",
        "passwords",
        "passwd",
        "pwd",
        "passphrase",
        "secret",
        "secrets",
        "credential",
        "credentials",
        "authorization",
        "cookie",
        "cookies",
        "apikey",
        "accesskey",
        "privatekey",
        "secretkey",
    ]
)
_LAST: Final = frozenset(("pass", "token"))
"""Words that make a name secret only as its last one: not ``token_count``."""
_ORDINALS: Final = frozenset(["first", "second", "third", "last", "next", "previous", "single", "forward", "backward"])
"""Words in front of these two that make them harmless: a backward pass, the next token."""
_KEYS: Final = frozenset(("api", "access", "private", "session", "signing", "encryption"))
"""Words that do so in front of ``key``."""
_DESCRIBING: Final = frozenset(
    [
        "id",
        "name",
        "file",
        "path",
        "type",
        "count",
        "length",
        "policy",
        "hint",
        "arn",
        "url",
        "ref",
        "version",
        "expiry",
        "expires",
        "age",
        "limit",
        "usage",
    ]
)
"""Last words of names that only tell of a secret."""
_KEY_ANCHORS: Final = (
    *(b"assw", b"assphrase", b'pass":', b'Pass":', b'pwd":', b'Pwd":', b"ecret", b"key", b"Key", b"oken"),
    *(b"redential", b"uthorization", b"ookie"),
    *(b"PASS", b"PWD", b"ECRET", b"KEY", b"OKEN", b"REDENTIAL", b"UTHORIZATION", b"OOKIE"),
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
        """A text without secrets."""
        return self.counted(value)[0]

    def counted(self, value: str) -> tuple[str, dict[str, int]]:
        """A text without secrets, and how many times each rule replaced something.

        Short texts are remembered: names come again and again.
        """
        known = self._clean.get(value)
        if known is not None:
            return known, _NOTHING
        body, counts = self.json(values.encode(value))
        if counts:
            cleaned: str = msgspec.json.decode(body)
            return cleaned, counts
        cleaned = values.text(value)
        if len(value) <= 256:
            if len(self._clean) >= 4096:
                self._clean.clear()
            self._clean[value] = cleaned
        return cleaned, _NOTHING

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
        return _items(value, clean, counts)
    if isinstance(value, dict):
        return {clean(key): _under(key, item, clean, counts) for key, item in value.items()}
    return value


def _under(key: str, item: Any, clean: Callable[[str], str], counts: Counter[str] | None) -> Any:
    cleaned = _walk(item, clean, counts)
    if counts is None or not isinstance(item, (str, list, dict)) or not item or not _is_secret(key):
        return cleaned
    if isinstance(item, list):
        return [
            _hidden(key, was, now, counts) if isinstance(was, str) else now
            for was, now in zip(item, cleaned, strict=True)
        ]
    if isinstance(item, dict) and "$repr" not in item:
        return cleaned
    return _hidden(key, item, cleaned, counts)


def _hidden(key: str, item: Any, cleaned: Any, counts: Counter[str]) -> Any:
    """What stands for the text under a secret name; what a rule has cleaned stays as it left it."""
    if cleaned != item or not item or (isinstance(item, str) and _is_harmless(key, item)):
        return cleaned
    counts[KEY_RULE] += 1
    return f"[redacted:{KEY_RULE}]"


@functools.lru_cache(maxsize=4096)
def _is_secret(key: str) -> bool:
    """Whether what has this name is meant to be secret."""
    words = [word.lower() for word in _WORDS.findall(key)]
    if not words or words[-1] in _DESCRIBING:
        return False
    if words[-1] in _LAST:
        return len(words) < 2 or words[-2] not in _ORDINALS
    pairs = itertools.pairwise(words)
    return any(word in _SECRETS for word in words) or any(one in _KEYS and two == "key" for one, two in pairs)


def _is_harmless(key: str, item: str) -> bool:
    """A single word under ``token`` is one of a language; ``PWD`` is a folder."""
    name = key.lower()
    if name.endswith("token"):
        return len(item) < 12 or any(letter.isspace() for letter in item)
    return name.endswith("pwd") and item[0] in "/~"


_OPTION: Final = re.compile(rf"--(?:[a-z]+-)*{_OPTIONS}")


def _items(items: list[Any], clean: Callable[[str], str], counts: Counter[str] | None) -> list[Any]:
    """A list; in one of arguments what follows an option like ``--password`` is secret."""
    found = [_walk(item, clean, counts) for item in items]
    if counts is None:
        return found
    for at, (option, item) in enumerate(itertools.pairwise(items), 1):
        if isinstance(option, str) and isinstance(item, str) and item[:1] != "-" and _OPTION.fullmatch(option):
            found[at] = _hidden(option, item, found[at], counts)
    return found
