"""In which folder a patch is applied that stands in a shell command: behind the ``cd`` that lead up to it.

Only what is certain counts as certain: commands one after the other whose words are written out. A variable, a
subshell, a branch: then the folder is a guess. The folder in which the command begins is never known here: Codex has an
argument for it that it does not tell hooks. The hook imports this module: standard library only.
"""

from __future__ import annotations

import os
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    Place = tuple[str, str | None]
    """Our best guess of the folder, from the one where the command begins, or absolute; and what is known of its end:
    ``None`` when all of it is known, '' when nothing is."""

UNKNOWN: Final[Place] = ("", "")
"""The place of a patch of which nothing is known."""

_PLAIN: Final = r"[^ \t\n'\"\\$`*?\[\](){}<>|&;!]"
_WORD: Final = rf"(?:'[^']*'|\"(?:[^\"\\$`]|\\[\s\S])*\"|\\[^\n]|{_PLAIN})+"
_TOKEN: Final = re.compile(
    r"(?P<blank>[ \t]+|\\\n)|(?P<comment>(?<![^ \t\n;&|()])#[^\n]*)|(?P<newline>\n)|(?P<and>&&)|(?P<or>\|\|)"
    r"|(?P<here><<-?(?!<))|(?P<joined>\d*>&(?:\d+|-))|(?P<redirect>(?:\d*|&)>>?\|?)|(?P<end>;)|(?P<apart>\||&)"
    rf"|(?P<word>{_WORD})|(?P<left>[)}}`])|(?P<other>\"(?:[^\"\\]|\\[\s\S])*\"|[\s\S])"
)
_PIECE: Final = re.compile(r"'([^']*)'|\"((?:[^\"\\]|\\[\s\S])*)\"|\\([\s\S])")

_APPLY: Final = frozenset({"apply_patch", "applypatch"})
_OPTIONS: Final = frozenset({"-P", "-L", "-e", "--"})
_MOVES: Final = frozenset({"cd", "pushd", "popd", "chdir"})
_DOUBTS: Final = frozenset(
    {"for", "while", "until", "select", "do", "done", "else", "elif", "fi", "esac"}
    | {"eval", "source", ".", "builtin", "command"}
)
"""First words of a command after which nobody can tell which of the commands before were the last ones to be run."""


def places(script: str) -> dict[int, Place]:
    """Where the lines of a script, counted from 0, are applied: those of its here-documents; no other is known."""
    return _Shell(script).places


class _Shell:
    """Reads a script to its end."""

    def __init__(self, script: str) -> None:
        self.places: dict[int, Place] = {}
        self._folder, self._firm = "", True
        self._stack: list[tuple[str, bool]] = []
        self._begin_list()
        self._begin_command()
        self._here: list[tuple[str, bool, Place]] = []
        self._expects = ""
        """What the next word is to the one before: the end of a here-document, or a file that is written."""
        self._read(script)

    def _begin_list(self) -> None:
        """Commands joined by ``&&``: the last one is run only if all were."""
        self._moved = self._moved_first = self._doubtful = False
        self._first = True

    def _begin_command(self) -> None:
        self._words: list[str] = []
        self._broken = False

    def _read(self, script: str) -> None:
        at = line = 0
        while at < len(script):
            token = _TOKEN.match(script, at)
            assert token is not None
            at, kind, text = token.end(), str(token.lastgroup), token.group()
            line += text.count("\n")
            self._take(kind, text)
            if kind == "newline":
                at, line = self._bodies(script, at, line)

    def _take(self, kind: str, text: str) -> None:
        if kind == "word":
            self._word(text)
        elif kind in ("here", "redirect"):
            self._expects = text
        elif kind == "other":
            self._broken = True
        elif kind == "left":
            self._end_command()
            self._firm = self._first = False
        elif kind not in ("blank", "comment", "joined"):
            self._end_command()
            if kind == "or":
                self._settle()
                self._doubtful = True
            elif kind == "apart":
                self._firm, self._doubtful = False, True
            elif kind in ("end", "newline"):
                self._settle()
                self._begin_list()

    def _word(self, text: str) -> None:
        expects, self._expects = self._expects, ""
        if expects.startswith("<<"):
            applies = self._words[:1] and self._words[0].rpartition("/")[2] in _APPLY and not self._broken
            firm = self._firm and bool(applies)
            known = None if firm and self._folder.startswith("/") else self._folder if firm else ""
            self._here.append((_unquoted(text), expects == "<<-", (self._folder, known)))
        elif not expects:
            if text[0] == "~" and not text.startswith("~/") and text != "~":
                self._broken = True  # the home of somebody else, or a folder that was left
            home = os.path.expanduser("~") if text[0] == "~" and not self._broken else text[:1]
            self._words.append(home + _unquoted(text[1:]) if text[0] == "~" else _unquoted(text))

    def _end_command(self) -> None:
        words, broken = self._words, self._broken
        self._begin_command()
        self._expects = ""
        if not words and not broken:
            return
        if words and words[0] in _MOVES and not broken:
            self._move(words)
        elif not _MOVES.isdisjoint(words) or not _DOUBTS.isdisjoint(words[:1]):
            self._firm = False
        self._first = False

    def _move(self, words: list[str]) -> None:
        name, given = words[0], [word for word in words[1:] if word not in _OPTIONS]
        self._moved, self._moved_first = True, self._first
        if name == "popd" and self._stack and not given:
            self._folder, firm = self._stack.pop()
            self._firm = self._firm and firm
            return
        if not given and name == "cd":
            given = [os.path.expanduser("~")]
        if name == "popd" or len(given) != 1 or given[0][:1] in ("", "-", "+"):
            self._firm = False
            return
        if name == "pushd":
            self._stack.append((self._folder, self._firm))
        self._firm = (self._firm or given[0].startswith("/")) and not self._doubtful
        self._folder = os.path.join(self._folder, given[0])

    def _settle(self) -> None:
        """What follows is run also when the list has failed: only a folder that is there has been gone to."""
        if self._moved and not (self._moved_first and self._folder.startswith("/") and os.path.isdir(self._folder)):
            self._firm = False
        self._moved = False

    def _bodies(self, script: str, at: int, line: int) -> tuple[int, int]:
        """Read the here-documents that begin here; where the script goes on."""
        here, self._here = self._here, []
        for end, tabs, place in here:
            while at < len(script):
                stop = script.find("\n", at)
                stop = len(script) if stop < 0 else stop
                text, at = script[at:stop], stop + 1
                if (text.lstrip("\t") if tabs else text) == end:
                    line += 1
                    break
                self.places[line] = place
                line += 1
        return at, line


def _unquoted(text: str) -> str:
    def bare(piece: re.Match[str]) -> str:
        plain, double, char = piece.groups()
        return plain if plain is not None else char if char is not None else re.sub(r"\\([$`\"\\])", r"\1", double)

    return _PIECE.sub(bare, text)
