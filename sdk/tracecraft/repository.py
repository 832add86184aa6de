"""Which file is meant: a path of this machine as the path within its repository, the same in every worktree.

A path belongs to the nearest folder above it that has a ``.git``; without one to the nearest that has a
``.tracecraft.toml``, else to the working folder. A submodule is a folder of the repository that it is a part of, unless
one works inside of it and it has a ``.tracecraft.toml`` of its own. Symbolic links are followed, so two names of one
file are one path.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from pathlib import Path
from typing import Final

from tracecraft_core import globs
from tracecraft_core.errors import UsageError
from tracecraft_core.settings import FILE

GIT: Final = ".git"
MODULES: Final = ".gitmodules"
"""Where git keeps the submodules of a repository (gitmodules(5))."""

MOST_SEEN: Final = 10_000
"""Files and folders that are looked at for one that a pattern matches."""

_BRACES: Final = re.compile(r"(?<!\[)\{([^{}]*,[^{}]*)\}")
_PATH: Final = re.compile(r"^\s*path\s*=\s*(.*?)\s*$", re.MULTILINE)


def glob_of(text: str, folder: Path | None = None) -> str:
    """The glob that is meant by a path or pattern, relative to ``folder`` (default: the working folder).

    A folder, or a path with a slash at its end, stands for everything inside. What exists under just this name is
    meant, also when a character in it would be a pattern. Raises `UsageError` outside of the repository.
    """
    return _meant(text, folder or Path.cwd())[0]


def matches_nothing(text: str, folder: Path | None = None) -> bool:
    """Whether there is no file now that is meant by a path or pattern; of a very large folder it says no."""
    glob, root = _meant(text, folder or Path.cwd())
    wanted = globs.parse(glob)
    if wanted.whole:
        return not os.path.lexists(root / wanted.prefix)
    waiting, seen = [wanted.prefix.rpartition("/")[0]], 0
    while waiting:
        above = waiting.pop()
        with contextlib.suppress(OSError), os.scandir(root / above) as entries:
            for entry in entries:
                seen += 1
                path = f"{above}/{entry.name}" if above else entry.name
                if entry.is_dir(follow_symlinks=False):
                    waiting += [path] if entry.name != GIT and _may_be_in(path, wanted) else []
                elif globs.matches(wanted, path):
                    return False
                if seen > MOST_SEEN:
                    return False
    return True


def _may_be_in(path: str, wanted: globs.Glob) -> bool:
    try:
        return globs.meeting(wanted, globs.parse(f"{globs.escape(path)}/**")) is not None
    except UsageError:
        return True


def _meant(text: str, base: Path) -> tuple[str, Path]:
    _check(text, base)
    literal, pattern = _split(text, base)
    place = Path(os.path.realpath(base / literal))
    root = root_of(place, base)
    parts = _inside(text, place, root)
    _check_folders(text, place, root, inside=bool(pattern) or text.endswith("/"))
    if not pattern and (text.endswith("/") or place.is_dir()):
        pattern = ["**"]
    glob = "/".join([*map(globs.escape, parts), *pattern])
    return globs.parse(glob or "**").text, root


def paths_of(text: str, folder: Path | None = None) -> list[str]:
    """The path of a file within its repository; none outside, where nobody can reserve it.

    Where symbolic links lead to it, the path with their names too: a pattern may match these.
    """
    base = folder or Path.cwd()
    found = []
    for place in dict.fromkeys((Path(os.path.realpath(base / text)), Path(os.path.abspath(base / text)))):
        root = root_of(place, base)
        if place != root and place.is_relative_to(root):
            found.append(place.relative_to(root).as_posix())
    return list(dict.fromkeys(found))


def root_of(place: Path, folder: Path | None = None) -> Path:
    """The top of the repository to which a resolved path belongs; ``folder`` is the working folder."""
    candidates = (place, *place.parents) if place.is_dir() else tuple(place.parents)
    repositories = [above for above in candidates if _is_repository(above)]
    for above, outer in itertools.zip_longest(repositories, repositories[1:]):
        if outer is None or not _is_part(above, outer, folder):
            return above
    for above in candidates:
        if (above / FILE).is_file():
            return above
    return Path(os.path.realpath(folder or Path.cwd()))


def within(folder: Path | None = None) -> str:
    """What stands before the paths that git gives: in a submodule ``vendor/lib/``, usually nothing."""
    base = Path(os.path.realpath(folder or Path.cwd()))
    nearest = next((above for above in (base, *base.parents) if _is_repository(above)), base)
    before = nearest.relative_to(root_of(nearest, base)).as_posix()
    return "" if before == "." else f"{before}/"


def _is_part(inner: Path, outer: Path, folder: Path | None) -> bool:
    """Whether a repository is a submodule of the one around it, and no project of its own for ``folder``."""
    try:
        modules = (outer / MODULES).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return False
    if inner.relative_to(outer).as_posix() not in map(_unquoted, _PATH.findall(modules)):
        return False
    return not ((inner / FILE).is_file() and Path(os.path.realpath(folder or Path.cwd())).is_relative_to(inner))


def _unquoted(value: str) -> str:
    """A value of git's settings: quoted where a character in it would mean something else."""
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def _is_repository(folder: Path) -> bool:
    """Whether git would say so: a worktree has a file in place of the folder."""
    return (folder / GIT / "HEAD").is_file() or (folder / GIT).is_file()


def _check(text: str, base: Path) -> None:
    if not text.strip():
        raise UsageError("an empty path: name a file, a folder or a glob, for example 'src/**/*.py'")
    if "\\" in text:
        raise UsageError(f"{text!r}: the parts of a path are separated by '/', for example 'src/parse.py'")
    braces = _BRACES.search(text)
    if braces is None:
        return
    before, after = text[: braces.start()], text[braces.end() :]
    if not os.path.lexists(base / (before + braces.group() + after.partition("/")[0])):
        several = " ".join(repr(f"{before}{one}{after}") for one in braces[1].split(","))
        raise UsageError(f"{text!r}: braces are no part of a glob, write {several} ('[{{]' is a brace in a name)")


def _check_folders(text: str, place: Path, root: Path, *, inside: bool) -> None:
    """Raise `UsageError` for what would lie inside of a file."""
    there = next(above for above in (place, *place.parents) if above == root or above.exists())
    if not there.is_dir() and there.exists() and (inside or there != place):
        file = there.relative_to(root).as_posix()
        raise UsageError(f"{text!r}: {file} is a file, nothing lies inside of it: write the path without the rest")


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
