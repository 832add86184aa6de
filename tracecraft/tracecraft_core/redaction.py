"""Redaction: what looks like a secret is replaced before anything leaves the process.

What a secret looks like in a text: `tracecraft_core.redaction_rules`; under which names one is kept:
`tracecraft_core.secret_names`.
"""

from __future__ import annotations

import itertools
import re
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tracecraft_core import secret_names, values
from tracecraft_core.errors import UsageError
from tracecraft_core.redaction_rules import DEFAULTS, Rule
from tracecraft_core.sieve import Sieve

if TYPE_CHECKING:
    from collections.abc import Callable

KEY_RULE: Final = "key"
"""Name under which values are counted that were replaced because of the name of their key."""
_MARK: Final = re.compile(r"\[redacted:[^\]\s]*\]")
"""What stands where a secret was."""
_MOST_PASSES: Final = 8
"""Times that a text is looked at when each time something is found."""
_Tried = tuple[str, re.Pattern[str], tuple[str, ...]]
"""A rule on its way through texts: its name, its pattern, its anchors."""


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
        keys = secret_names.ANCHORS if self._keys else ()
        self._tried = [(rule.name, rule.pattern, _texts(rule.anchors)) for rule in rules]
        anchors = [(anchor, at) for at, rule in enumerate(rules) for anchor in rule.anchors]
        self._sieve = Sieve([*keys, *(anchor for anchor, _ in anchors)])
        self._having = {
            one: [(anchor.decode("latin-1"), at) for anchor, at in anchors if one.encode("latin-1") in anchor]
            for one in self._sieve.wanted
        }
        """What the sieve catches, with the anchors it is part of and the places of their rules."""
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
        searched = body.decode("latin-1")
        caught = self._sieve.caught(searched)
        if not caught and not self._always:
            return body, _NOTHING
        return self._search(body, searched, caught)

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

    def _search(self, body: bytes, searched: str, caught: list[str]) -> tuple[bytes, dict[str, int]]:
        """The slow way: decode, look at every text and key, and encode again if something was found."""
        places = {at for one in caught for anchor, at in self._having[one] if anchor in searched}
        rules = [one for at, one in enumerate(self._tried) if at in places or not one[2]]
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


def _texts(anchors: tuple[bytes, ...]) -> tuple[str, ...]:
    """Anchors as they are in a text, not in its JSON."""
    return tuple(msgspec.json.decode(b'"%b"' % anchor) for anchor in anchors)


def _apply(rules: list[_Tried], text: str, counts: Counter[str]) -> str:
    """A text without secrets; where one was found looked at again, for another may have been joined to it."""
    for _ in range(_MOST_PASSES):
        before, text = text, _once(rules, text, counts)
        if text == before:
            break
    return text


def _once(rules: list[_Tried], text: str, counts: Counter[str]) -> str:
    for name, pattern, anchors in rules:
        for anchor in anchors:
            if anchor in text:
                break
        else:
            if anchors:
                continue
        mark = f"[redacted:{name}]"
        text, found = pattern.subn(lambda hit, mark=mark: _replaced(hit, mark), text)  # type: ignore[misc]
        if found:
            counts[name] += found
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
        found = {clean(key): _under(key, item, clean, counts) for key, item in value.items()}
        return found if counts is None else _pair(value, found, counts)
    return value


def _under(key: str, item: Any, clean: Callable[[str], str], counts: Counter[str] | None) -> Any:
    cleaned = _walk(item, clean, counts)
    if counts is None or not isinstance(item, (str, list, dict, int)) or not item or not secret_names.is_secret(key):
        return cleaned
    if isinstance(item, list):
        return [_held(key, was, now, counts) for was, now in zip(item, cleaned, strict=True)]
    return _held(key, item, cleaned, counts)


def _held(key: str, item: Any, cleaned: Any, counts: Counter[str]) -> Any:
    """What stands for anything under a secret name: of an object only its value is secret, not what describes it."""
    if not isinstance(item, dict):
        return _hidden(key, item, cleaned, counts)
    if "$repr" in item:
        return cleaned if cleaned != item else _marked(counts)
    for holding in secret_names.HOLDING:
        if isinstance(item.get(holding), str) and holding in cleaned:
            cleaned[holding] = _hidden(key, item[holding], cleaned[holding], counts)
    return cleaned


def _pair(value: dict[str, Any], cleaned: dict[str, Any], counts: Counter[str]) -> dict[str, Any]:
    """What stands for ``{"name": "DB_PASSWORD", "value": "hunter2"}``."""
    for holding in ("value", "Value"):
        held = value.get(holding)
        if not isinstance(held, str) or holding not in cleaned:
            continue
        for naming in secret_names.NAMING:
            name = value.get(naming)
            if isinstance(name, str) and secret_names.is_secret(name):
                cleaned[holding] = _hidden(name, held, cleaned[holding], counts)
    return cleaned


def _hidden(key: str, item: Any, cleaned: Any, counts: Counter[str]) -> Any:
    """What stands for the value under a secret name; what a rule has cleaned stays as it left it."""
    if isinstance(item, str):
        known = cleaned != item or not item or _MARK.search(item) or secret_names.is_harmless(key, item)
        return cleaned if known else _marked(counts)
    if isinstance(item, int) and not isinstance(item, bool) and secret_names.hides_number(key, item):
        return _marked(counts)
    return cleaned


def _marked(counts: Counter[str]) -> str:
    counts[KEY_RULE] += 1
    return f"[redacted:{KEY_RULE}]"


def _items(items: list[Any], clean: Callable[[str], str], counts: Counter[str] | None) -> list[Any]:
    """A list; in one of arguments what follows an option like ``--password`` is secret."""
    found = [_walk(item, clean, counts) for item in items]
    if counts is None:
        return found
    for at, (option, item) in enumerate(itertools.pairwise(items), 1):
        if isinstance(option, str) and isinstance(item, str) and secret_names.follows_option(option, item):
            found[at] = _hidden(option, item, found[at], counts)
    return found
