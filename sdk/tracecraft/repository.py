"""Which file is meant: a path of this machine as the path within its repository, the same in every worktree.

A path belongs to the nearest folder above it that has a ``.git``; without one to the nearest that has a
``.tracecraft.toml``, else to the working folder. Symbolic links are followed, so two names of one file are one path.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from tracecraft_core import globs
from tracecraft_core.errors import UsageError
from tracecraft_core.settings import FILE

GIT: Final = ".git"


def glob_of(text: str, folder: Path | None = None) -> str:
    """The glob that is meant by a path or pattern, relative to ``folder`` (default: the working folder).

    A folder, or a path with a slash at its end, stands for everything inside. What exists under just this name is
    meant, also when a character in it would be a pattern. Raises `UsageError` outside of the repository.
    """
    _check(text)
    base = folder or Path.cwd()
    literal, pattern = _split(text, base)
    place = Path(os.path.realpath(base / literal))
    root = root_of(place, base)
    parts = _inside(text, place, root)
    if not pattern and (text.endswith("/") or place.is_dir()):
        pattern = ["**"]
    glob = "/".join([*map(globs.escape, parts), *pattern])
    return globs.parse(glob or "**").text


def path_of(text: str, folder: Path | None = None) -> str | None:
    """The path of a file within its repository; ``None`` outside, where nobody can reserve it."""
    base = folder or Path.cwd()
    place = Path(os.path.realpath(base / text))
    root = root_of(place, base)
    return place.relative_to(root).as_posix() if place != root and place.is_relative_to(root) else None


def root_of(place: Path, folder: Path | None = None) -> Path:
    """The top of the repository to which a resolved path belongs; ``folder`` is the working folder."""
    candidates = (place, *place.parents) if place.is_dir() else tuple(place.parents)
    for above in candidates:
        if _is_repository(above):
            return above
    for above in candidates:
        if (above / FILE).is_file():
            return above
    return Path(os.path.realpath(folder or Path.cwd()))


def _is_repository(folder: Path) -> bool:
    """Whether git would say so: a worktree has a file in place of the folder."""
    return (folder / GIT / "HEAD").is_file() or (folder / GIT).is_file()


def _check(text: str) -> None:
    if not text.strip():
        raise UsageError("an empty path: name a file, a folder or a glob, for example 'src/**/*.py'")
    if "\\" in text:
        raise UsageError(f"{text!r}: the parts of a path are separated by '/', for example 'src/parse.py'")


def _split(text: str, base: Path) -> tuple[str, list[str]]:
    """The leading parts that are names, and those from the first pattern on."""
    if not globs.is_pattern(text) or os.path.lexists(base / text):
        return text, []
    parts = text.split("/")
    first = next(place for place, part in enumerate(parts) if globs.is_pattern(part))
    rest = [part for part in parts[first:] if part not in ("", ".")]
    if ".." in rest:
        raise UsageError(f"{text!r}: '..' cannot stand behind a pattern, write the path without it")
    if text.endswith("/"):
        rest.append("**")
    return "/".join(parts[:first]) or ("/" if text.startswith("/") else "."), rest


def _inside(text: str, place: Path, root: Path) -> tuple[str, ...]:
    if not place.is_relative_to(root):
        raise UsageError(f"{text!r} lies outside of {root}: only files of a repository can be reserved")
    return place.relative_to(root).parts
