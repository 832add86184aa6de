"""Globs over the paths of a repository, as automata: which path they match, and whether two of them can meet.

The language is that of a line in ``.gitignore``, anchored at the top and without ``!``: ``*`` and ``?`` stop at a
slash, ``[a-z]`` and ``[!a-z]`` are one character and never a slash, ``**`` as a whole part is any number of folders,
and as the last part everything inside. Names that begin with a dot are names like any other; case counts. ``[*]`` is a
star.

Questions are answered by walking the product of two automata, so the answer is exact, and costs at most the product of
the two lengths: no pattern makes it slow, as one could a regular expression.
"""

from __future__ import annotations

import functools
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tracecraft_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_GLOB: Final = 1024
"""Characters of a glob, so that comparing two is at most a million steps."""

MAX_COVER: Final = 20_000
"""Places that `covers` looks at before it says no."""

Chars = tuple[tuple[int, int], ...]
"""A set of characters: disjoint, rising ranges of code points."""

SLASH: Final[Chars] = ((47, 47),)
NAME: Final[Chars] = ((0, 46), (48, 0x10FFFF))
"""Every character that a name may have."""

_Place = tuple[int, int, bool]
"""A state of each automaton, and whether a name begins here: no name is empty."""


@dataclass(frozen=True, slots=True)
class Glob:
    """A glob, ready to be compared. Make it with `parse`."""

    text: str
    edges: tuple[tuple[tuple[Chars, int], ...], ...]
    """Of each state: what may be read there, and the state behind it."""
    skips: tuple[tuple[int, ...], ...]
    """Of each state: those that are reached without reading."""
    prefix: str
    """What every path that it matches begins with."""
    whole: bool
    """Whether the prefix is the only path that it matches."""

    @property
    def end(self) -> int:
        """The state in which a path is matched."""
        return len(self.edges) - 1


class _Builder:
    def __init__(self) -> None:
        self._edges: list[list[tuple[Chars, int]]] = [[]]
        self._skips: list[list[int]] = [[]]
        self._prefix: list[str] = []
        self._whole = True

    def _state(self) -> int:
        self._edges.append([])
        self._skips.append([])
        return len(self._edges) - 1

    def read(self, chars: Chars) -> None:
        here = len(self._edges) - 1
        self._edges[here].append((chars, self._state()))
        single = len(chars) == 1 and chars[0][0] == chars[0][1]
        self._whole = self._whole and single
        if self._whole:
            self._prefix.append(chr(chars[0][0]))

    def star(self) -> None:
        here = len(self._edges) - 1
        if (NAME, here) not in self._edges[here]:
            self._edges[here].append((NAME, here))
        self._whole = False

    def folders(self) -> None:
        """``**/``: none or more names, each with its slash."""
        here = len(self._edges) - 1
        name = self._state()
        self._edges[here].append((NAME, name))
        self._edges[name] += [(NAME, name), (SLASH, here)]
        self._skips[here].append(self._state())
        self._whole = False

    def inside(self) -> None:
        """A last ``**``: one name or more."""
        here = len(self._edges) - 1
        after = self._state()
        self._edges[here].append((NAME, after))
        self._edges[after] += [(NAME, after), (SLASH, after)]
        self._whole = False

    def glob(self, text: str) -> Glob:
        return Glob(
            text, tuple(map(tuple, self._edges)), tuple(map(tuple, self._skips)), "".join(self._prefix), self._whole
        )


@functools.lru_cache(maxsize=4096)
def parse(text: str) -> Glob:
    """The glob of a normal path or pattern: relative, without empty parts. Raises `UsageError` for any other."""
    parts = _parts(text)
    builder = _Builder()
    for place, part in enumerate(parts):
        last = place == len(parts) - 1
        if part == "**":
            builder.inside() if last else builder.folders()
            continue
        for item in _items(part, text):
            builder.star() if item is None else builder.read(item)
        if not last:
            builder.read(SLASH)
    return builder.glob(text)


def escape(path: str) -> str:
    """The glob that matches this path and no other."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in path)


def ending(tail: str) -> Glob:
    """What matches every path that ends in these names, in whichever folder, and little else."""
    names = "".join("?" if char in "\\\0" or "\ud800" <= char <= "\udfff" else char for char in escape(tail))
    try:
        return parse(f"**/{names}")
    except UsageError:
        return parse("**")


def is_pattern(text: str) -> bool:
    """Whether there is a character in it that means something else than itself."""
    return any(char in text for char in "*?[")


def _parts(text: str) -> list[str]:
    if not text or len(text) > MAX_GLOB:
        raise UsageError(f"a glob of {len(text)} characters: 1 to {MAX_GLOB:,} are allowed, for example 'src/**/*.py'")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{text!r} is not UTF-8 and cannot be written: match it by a '*' or '?'") from None
    if "\\" in text or "\0" in text:
        raise UsageError(f"{text!r}: the parts of a path are separated by '/', for example 'src/parse.py'")
    parts = text.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise UsageError(f"{text!r} must be relative and have no empty part, '.' or '..'; for example 'src/parse.py'")
    return parts


def _items(part: str, text: str) -> Iterator[Chars | None]:
    """The characters that a part reads one after the other; ``None`` stands for a star."""
    place = 0
    while place < len(part):
        char, place = part[place], place + 1
        if char == "*":
            yield None
        elif char == "?":
            yield NAME
        elif char == "[" and (close := _closing(part, place)) is not None:
            yield _char_class(part[place:close], text)
            place = close + 1
        else:
            yield ((ord(char), ord(char)),)


def _closing(part: str, start: int) -> int | None:
    """Where a class ends that begins at ``start``; ``None``: the bracket is a character like any other."""
    first = start + 1 if part[start : start + 1] in ("!", "^") else start
    found = part.find("]", first + 1)
    return None if found < 0 else found


def _char_class(inner: str, text: str) -> Chars:
    if "[:" in inner:
        raise UsageError(f"{text!r}: a class like '[:alpha:]' is not understood, write '[A-Za-z]'")
    negated = inner[0] in "!^"
    members, ranges, place = inner[1:] if negated else inner, [], 0
    while place < len(members):
        low = high = members[place]
        if members[place + 1 : place + 2] == "-" and place + 2 < len(members):
            high, place = members[place + 2], place + 2
        if low > high:
            raise UsageError(f"{text!r}: the range {low}-{high} is empty, write '{high}-{low}'")
        ranges.append((ord(low), ord(high)))
        place += 1
    return _common(_others(_merged(ranges)) if negated else _merged(ranges), NAME)


def _merged(ranges: list[tuple[int, int]]) -> Chars:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def _others(chars: Chars) -> Chars:
    """Every character that is not among these."""
    found, begin = [], 0
    for low, high in chars:
        if begin < low:
            found.append((begin, low - 1))
        begin = high + 1
    return (*found, (begin, 0x10FFFF)) if begin <= 0x10FFFF else tuple(found)


def _common(one: Chars, other: Chars) -> Chars:
    if one is other:
        return one
    pairs = ((max(a, c), min(b, d)) for a, b in one for c, d in other)
    return tuple((low, high) for low, high in pairs if low <= high)


def _example(chars: Chars) -> str:
    """One of the characters, one that can be read if there is one."""
    for wanted in (97, 48, 65):
        if any(low <= wanted <= high for low, high in chars):
            return chr(wanted)
    return next((chr(max(low, 33)) for low, high in chars if high >= 33), chr(chars[0][0]))


# -- two of them --------------------------------------------------------------------------------------------------


def meeting(one: Glob, other: Glob) -> str | None:
    """A shortest path that both match; ``None`` when there is none."""
    if not (one.prefix.startswith(other.prefix) or other.prefix.startswith(one.prefix)):
        return None
    if one.whole and other.whole:
        return one.prefix if one.prefix == other.prefix else None
    start = (0, 0, True)
    came: dict[_Place, tuple[_Place, str]] = {start: (start, "")}
    queue = deque([start])
    while queue:
        place = queue.popleft()
        if place == (one.end, other.end, False):
            return _path(came, place)
        for after, char in _moves(one, other, place):
            if after not in came:
                came[after] = (place, char)
                queue.append(after)
    return None


def _moves(one: Glob, other: Glob, place: _Place) -> Iterator[tuple[_Place, str]]:
    here, there, fresh = place
    for skip in one.skips[here]:
        yield (skip, there, fresh), ""
    for skip in other.skips[there]:
        yield (here, skip, fresh), ""
    for chars, after in one.edges[here]:
        if fresh and chars == SLASH:
            continue
        for theirs, behind in other.edges[there]:
            if common := _common(chars, theirs):
                yield (after, behind, chars == SLASH), _example(common)


def _path(came: dict[_Place, tuple[_Place, str]], place: _Place) -> str:
    chars: list[str] = []
    while came[place][0] != place:
        place, char = came[place]
        chars.append(char)
    return "".join(reversed(chars))


def matches(glob: Glob, path: str) -> bool:
    """Whether a normal path, any text of names and slashes, is one that the glob matches."""
    if not path.startswith(glob.prefix):
        return False
    if glob.whole:
        return path == glob.prefix
    states = _closed(glob, {0})
    for char in path:
        states = _after(glob, states, ord(char))
        if not states:
            return False
    return glob.end in states


def covers(outer: Glob, inner: Glob) -> bool:
    """Whether ``outer`` matches every path that ``inner`` does.

    Exact, but for pairs that are harder than `MAX_COVER`, of which it says no.
    """
    if outer.text == inner.text:
        return True
    if inner.whole:
        return matches(outer, inner.prefix)
    start = (0, _closed(outer, {0}), True)
    seen, queue = {start}, deque([start])
    while queue:
        here, states, fresh = queue.popleft()
        if here == inner.end and not fresh and outer.end not in states:
            return False
        found = [(skip, states, fresh) for skip in inner.skips[here]]
        for chars, after in inner.edges[here]:
            if not (fresh and chars == SLASH):
                found += [(after, _after(outer, states, char), chars == SLASH) for char in _kinds(chars, outer, states)]
        fresh_places = [place for place in dict.fromkeys(found) if place not in seen]
        seen.update(fresh_places)
        queue.extend(fresh_places)
        if len(seen) > MAX_COVER:
            return False
    return True


def _kinds(chars: Chars, glob: Glob, states: frozenset[int]) -> list[int]:
    """One of the characters for each way in which the glob can tell them apart."""
    ranges = [edge for state in states for known, _ in glob.edges[state] for edge in known]
    bounds = {low for low, _ in ranges} | {high + 1 for _, high in ranges}
    return sorted({low for low, _ in chars} | {cut for cut in bounds for low, high in chars if low <= cut <= high})


def _closed(glob: Glob, states: set[int]) -> frozenset[int]:
    waiting = list(states)
    while waiting:
        for skip in glob.skips[waiting.pop()]:
            if skip not in states:
                states.add(skip)
                waiting.append(skip)
    return frozenset(states)


def _after(glob: Glob, states: frozenset[int], char: int) -> frozenset[int]:
    reached = {
        after
        for state in states
        for chars, after in glob.edges[state]
        if any(low <= char <= high for low, high in chars)
    }
    return _closed(glob, reached)
