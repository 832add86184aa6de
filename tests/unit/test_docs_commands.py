"""The commands that the docs, the skills and the changelog name are there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import pytest

from tracecraft_cli.main import main

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK: Final = re.compile(r"^```(?:console|bash|text).*?$(.*?)^```$", re.MULTILINE | re.DOTALL)
_ANY_BLOCK: Final = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_INLINE: Final = re.compile(r"`([^`\n]+)`")
_BEFORE: Final = r"(?:^|[$;|&(]\s*|(?:--|do|until|[A-Z_]+=\S+) |')"
"""Where a command begins; elsewhere the word is one of prose."""
_CALL: Final = re.compile(_BEFORE + r"tracecraft((?: --?[a-z]+ \S+)*)((?: [a-z][a-z-]+)+)")


def calls(page: Path) -> Iterator[list[str]]:
    """The words after `tracecraft`, where the page shows a command."""
    text = page.read_text(encoding="utf-8")
    shown = [line for block in _BLOCK.findall(text) for line in block.splitlines()]
    shown += _INLINE.findall(_ANY_BLOCK.sub("", text))
    for line in shown:
        for _, words in _CALL.findall(line.partition("#")[0]):
            yield words.split()


def unknown_word(words: list[str]) -> str | None:
    """The first word that should name a command and names none."""
    command: click.Command = main
    for word in words:
        if not isinstance(command, click.Group):
            return None
        below = command.get_command(click.Context(command), word)
        if below is None:
            return None if command.invoke_without_command else word
        command = below
    return None


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])
def test_a_command_that_a_page_names_is_there(page: Path) -> None:
    wrong = [" ".join(words) for words in calls(page) if unknown_word(words) is not None]
    assert wrong == []


def test_the_pages_name_most_commands() -> None:
    named = {words[0] for page in PAGES for words in calls(page)}
    assert len(named & set(main.list_commands(click.Context(main)))) > 25
