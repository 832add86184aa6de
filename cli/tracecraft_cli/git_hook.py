"""The git pre-commit hook that refuses a commit of files that another agent holds.

A hook that is there already is kept and run first. It is written where git looks for hooks: the same folder for all
worktrees of a repository, or the one that ``core.hooksPath`` names, if it is one of this repository's.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from tracecraft_cli import git_facts
from tracecraft_core.errors import FileReserved, UsageError

if TYPE_CHECKING:
    from pathlib import Path

NAME: Final = "pre-commit"
BEFORE: Final = "pre-commit.before-tracecraft"
"""Where the hook that was there before is kept."""

MARK: Final = "# Written by 'tracecraft reserve --install-git-hook'; --uninstall-git-hook removes it."
"""By this line a hook is known to be ours."""

LINE: Final = "tracecraft reserve --check --staged"
"""What a hook that is not ours needs."""

Outcome = Literal["installed", "unchanged", "removed", "absent"]

_SCRIPT: Final = """\
#!/bin/sh
{mark}
before="$(dirname "$0")/{before}"
if [ -x "$before" ]; then
    "$before" "$@" || exit $?
fi
if [ -x {python} ]; then
    {python} -m tracecraft_cli reserve --check --staged
elif command -v tracecraft >/dev/null; then
    {line}
else
    echo "tracecraft is not installed any more" >&2
    false
fi
code=$?
if [ $code = 0 ] || [ $code = {refused} ] || [ $code -gt 128 ] || [ "${{TRACECRAFT_RESERVE_STRICT:-0}}" = 1 ]; then
    exit $code
fi
echo "tracecraft failed: nobody was asked whether these files are reserved, the commit goes on" >&2
"""


@dataclass(frozen=True, slots=True)
class Changed:
    """What became of the hook."""

    path: Path
    outcome: Outcome
    before: Path | None
    """The hook that was there already: kept and run first, or on removal put back."""


def script(python: str = sys.executable) -> str:
    """The hook's text; ``python`` is the interpreter that has tracecraft."""
    return _SCRIPT.format(
        mark=MARK, before=BEFORE, python=shlex.quote(python), line=LINE, refused=FileReserved.exit_code
    )


def install(folder: Path | None = None) -> Changed:
    """Install the hook for the repository of a folder; done again it changes nothing.

    Raises `UsageError` outside of a repository, when its hooks lie outside of it, for they serve others too, and when
    another hook has taken its place and it had kept one.
    """
    hook, before = _places(folder)
    if not git_facts.is_own(hook.parent, folder):
        raise UsageError(
            f"git looks for hooks in {hook.parent} (core.hooksPath), outside of this repository, and others may use "
            f"them: nothing was written. Add this line to {hook}: {LINE} || exit 1"
        )
    if _is_ours(hook):
        outcome: Outcome = "unchanged" if _text(hook) == script() else "installed"
    else:
        outcome = "installed"
        if _exists(hook):
            _keep(hook, before)
    try:
        if outcome == "installed":
            hook.parent.mkdir(parents=True, exist_ok=True)
            fresh = hook.with_name(f"{hook.name}.new")
            fresh.write_text(script(), encoding="utf-8")
            fresh.chmod(0o755)
            fresh.replace(hook)
    except OSError as error:
        raise _unwritable(hook, error) from None
    return Changed(hook, outcome, before if _exists(before) else None)


def uninstall(folder: Path | None = None) -> Changed:
    """Remove the hook, and put back the one that was there before it. Raises `UsageError` outside of a repository."""
    hook, before = _places(folder)
    if not _is_ours(hook):
        return Changed(hook, "absent", None)
    kept = _exists(before)
    try:
        if kept:
            before.replace(hook)
        else:
            hook.unlink()
    except OSError as error:
        raise _unwritable(hook, error) from None
    return Changed(hook, "removed", hook if kept else None)


def _places(folder: Path | None) -> tuple[Path, Path]:
    hooks = git_facts.hooks_folder(folder)
    return hooks / NAME, hooks / BEFORE


def _keep(hook: Path, before: Path) -> None:
    if _exists(before):
        raise UsageError(
            f"{hook} is another hook, and {before} keeps an older one: make one of the two, and install again"
        )
    try:
        hook.rename(before)
    except OSError as error:
        raise _unwritable(hook, error) from None


def _is_ours(hook: Path) -> bool:
    return MARK in _text(hook)


def _text(hook: Path) -> str:
    try:
        return hook.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _exists(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _unwritable(hook: Path, error: OSError) -> UsageError:
    return UsageError(f"{hook} cannot be written ({error.strerror}): who owns the hooks of this repository can do it")
