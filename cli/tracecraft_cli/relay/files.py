"""Files in a request: resolved inside, where they are, so that a relay needs to see nothing of the workspace.

What goes over is the path within the repository, as `tracecraft_core.globs` has it: text that nobody opens.
"""

# ruff: noqa: TID253 - commands import this module when they run

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from tracecraft import repository
from tracecraft_cli import commit_guard, git_facts
from tracecraft_cli.output import emit
from tracecraft_cli.relay import policy
from tracecraft_core import globs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

STAGED: Final = ("--staged", None)
STRICT: Final = ("--strict", None)
AT_ONCE: Final = 200
"""Files of a commit in a request."""

Options = list[tuple[str, str | None]]


def resolved(options: Options, arguments: Sequence[str]) -> tuple[Options, list[str]]:
    """Options and arguments with every path from the top of its repository. Raises `UsageError` for one outside."""
    if (policy.FROM_TOP, None) not in options:
        return options, [repository.glob_of(one) for one in arguments]
    rest = [one for one in options if one[0] != policy.FROM_TOP]
    return rest, [globs.parse(one.removeprefix("./")).text for one in arguments]


def check_commit(ask: Callable[[list[str]], int], *, strict: bool, as_json: bool) -> int:
    """Ask for the files of the commit under way; the exit code. Without a relay it goes on, unless ``strict``."""
    staged = [os.fsencode(path).decode("utf-8", "replace") for path in git_facts.staged_files()]
    if not staged:
        emit(as_json, {"free": []}, None)
    with commit_guard.unasked(strict):
        for start in range(0, len(staged), AT_ONCE):
            if code := ask(staged[start : start + AT_ONCE]):
                return code
    return 0
