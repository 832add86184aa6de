"""What to add to ``program.md`` when several agents research at once: claim, ask, publish, read the best."""

from __future__ import annotations

from importlib import resources


def text() -> str:
    """The text, Markdown; a test runs its commands."""
    return (resources.files(__package__) / "snippet.md").read_text(encoding="utf-8")
