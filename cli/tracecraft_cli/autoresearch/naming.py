"""Ids of runs and of their writers, made of what they are: whoever reads the same row writes the same run, once."""

from __future__ import annotations

import hashlib

from tracecraft_core import names


def experiment(repository: str, branch: str) -> str:
    """The run of a branch; ``repository`` is what its clones have in common, such as its first commit."""
    return f"ar-{_slug(_tag(branch), 32)}-{_digest(repository, branch)}"


def trial(repository: str, branch: str, commit: str, occurrence: int) -> str:
    """The run of a row: the ``occurrence``-th of its branch that has this commit."""
    again = f"-{occurrence + 1}" if occurrence else ""
    return f"ar-{_slug(_tag(branch), 24)}-{_slug(commit, 7)}{again}-{_digest(repository, branch, commit, occurrence)}"


def writer(run: str, *facts: object) -> str:
    """The id of a writer whose events are made of these facts: written again, they are known for repeats."""
    return f"ar{_digest(run, *facts, length=20)}"


def _tag(branch: str) -> str:
    """What of a branch's name is the agent's: ``mar5`` of ``autoresearch/mar5``."""
    return branch.rpartition("/")[2]


def _slug(text: str, length: int) -> str:
    return names.from_text(text, length) or "x"


def _digest(*facts: object, length: int = 8) -> str:
    return hashlib.sha256("\0".join(map(str, facts)).encode()).hexdigest()[:length]
