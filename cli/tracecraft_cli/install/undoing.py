"""What an install did to a settings file, noted in our folder, and how to have the file as it was before.

A file that nobody has touched since is put back to the byte. In any other only what is ours goes: the word, the keys
and the file that were made for it; the word that was taken out of the other list comes back, if that list is there.
"""

from __future__ import annotations

import hashlib
import itertools
from typing import TYPE_CHECKING, Final

import msgspec

from tracecraft_cli.install import place, yaml_list
from tracecraft_cli.install.plan import Write

if TYPE_CHECKING:
    from pathlib import Path

OUTER: Final = "plugins"
ENABLED: Final = (OUTER, "enabled")
DISABLED: Final = (OUTER, "disabled")


class Splice(msgspec.Struct, frozen=True):
    """One place where a text became another, without what stands around it: there may be secrets."""

    at: int
    was: str
    now: str

    @classmethod
    def between(cls, before: str, after: str) -> Splice:
        """What makes one text of another."""
        head = _alike(before, after)
        rest, new = before[head:], after[head:]
        tail = _alike(rest[::-1], new[::-1])
        return cls(head, rest[: len(rest) - tail], new[: len(new) - tail])

    def undone(self, text: str) -> str:
        """The text before it."""
        return text[: self.at] + self.was + text[self.at + len(self.now) :]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What an install did to a file."""

    path: str
    existed: bool
    added: bool
    """The word was put into ``plugins.enabled``."""
    taken: bool
    """It was taken out of ``plugins.disabled``."""
    made: int
    """How many keys, from the inside, were made for it."""
    splices: tuple[Splice, ...] = ()
    """What was done, in order."""
    after: str = ""
    """Digest of the file as the install left it; empty when that is not the whole story."""

    def before(self, text: str, word: str, path: Path) -> str | None:
        """What the file says without the install; ``None``: it is not there. Raises `UsageError`."""
        if digest(text) == self.after:
            for splice in reversed(self.splices):
                text = splice.undone(text)
        else:
            if self.added:
                text = yaml_list.without(text, ENABLED, word, path, made=self.made)
            if self.taken and yaml_list.depth(text, DISABLED) == len(DISABLED):
                text = yaml_list.with_one(text, DISABLED, word, path)
        return text if text or self.existed else None


def made(before: str | None, word: str, path: Path, earlier: Change | None) -> tuple[str, Change]:
    """What an install makes of a text, and what it does to it; ``None`` for no file. Raises `UsageError`."""
    text = before or ""
    without = yaml_list.without(text, DISABLED, word, path)
    after = yaml_list.with_one(without, ENABLED, word, path)
    change = Change(
        path=str(path),
        existed=before is not None,
        added=after != without,
        taken=without != text,
        made=len(ENABLED) - yaml_list.depth(text, ENABLED) if after != without else 0,
        splices=(Splice.between(text, without), Splice.between(without, after)),
        after=digest(after),
    )
    if earlier is not None and earlier.added and not change.added:  # the word is there, by an install before this one
        kept = msgspec.structs.replace(change, added=True, made=earlier.made, existed=earlier.existed)
        return after, msgspec.structs.replace(kept, splices=(), after="")
    return after, change


def note(path: Path) -> Path:
    """Where what was done to a file is noted."""
    return place.folder() / "changed" / f"{digest(str(path))[:12]}.json"


def noted(path: Path) -> Change | None:
    """What an install did to a file; ``None`` when none has, or the note is not ours."""
    try:
        return msgspec.json.decode(note(path).read_bytes(), type=Change)
    except (OSError, msgspec.MsgspecError):
        return None


def noting(path: Path, change: Change) -> Write:
    """What writes the note."""
    return Write(note(path), msgspec.json.format(msgspec.json.encode(change)) + b"\n", 0o600)


def digest(text: str) -> str:
    """By which a text is known again."""
    return hashlib.sha256(text.encode()).hexdigest()


def _alike(one: str, other: str) -> int:
    """How many characters two texts begin with in common."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
