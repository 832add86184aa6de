"""Extras: what tracecraft needs for some of what it does, and how it is installed, in words.

The distribution is on no package index: pip takes it, and so its extras, from a clone of the repository.
"""

from __future__ import annotations


def install(extra: str | None = None, *, pip: str = "pip install") -> str:
    """How to install tracecraft, with an extra of its ``pyproject.toml``; ``pip`` is the command, with its options."""
    what = "." if extra is None else f"'.[{extra}]'"
    return f"{pip} {what} in a clone of tracecraft"
