"""The throw-away repository: a ledger that gets amounts wrong, one worktree for each place of work."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

AMOUNTS = '''\
"""Amounts as people write them."""


def parse(text):
    """The amount in a text such as '1,234.50'."""
    return float(text)
'''
REPORT = '''\
"""The report at the end of the month."""

from ledger.amounts import parse


def total(lines):
    """The sum of all lines, for people: '1,234.50'."""
    return str(sum(parse(line) for line in lines))
'''
TESTS = """\
import unittest

from ledger.amounts import parse
from ledger.report import total


class Ledger(unittest.TestCase):
    def test_amounts_are_whole_cents(self):
        self.assertEqual(parse("1,234.50"), 123450)
        self.assertEqual(parse("0.10"), 10)

    def test_the_total_is_readable(self):
        self.assertEqual(total(["0.10", "0.20", "1,234.20"]), "1,234.50")
"""
FILES = {
    "ledger/__init__.py": "",
    "ledger/amounts.py": AMOUNTS,
    "ledger/report.py": REPORT,
    "test_ledger.py": TESTS,
    ".gitignore": "__pycache__/\n",
    ".tracecraft.toml": 'project = "ledger"\n',
}


class Repository:
    """Made in a folder; ``trees`` are branches, each with a worktree beside it."""

    def __init__(self, folder: Path, *trees: str) -> None:
        self.main = folder / "main"
        for name, text in FILES.items():
            path = self.main / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        self.git("init", "--quiet", "--initial-branch", "main")
        for setting in ("user.name=example", "user.email=example@localhost", "commit.gpgsign=false"):
            self.git("config", *setting.split("="))
        self.git("add", ".")
        self.git("commit", "--quiet", "--message", "Begin the ledger")
        self.trees = {name: folder / name for name in trees}
        for name, path in self.trees.items():
            self.git("worktree", "add", "--quiet", "-b", name, str(path))

    def git(self, *words: str, tree: Path | None = None) -> str:
        """What git says."""
        command = ["git", "-C", str(tree or self.main), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def tests_pass(self) -> bool:
        """Whether the tests pass on the main branch."""
        command = [sys.executable, "-m", "unittest", "--quiet"]
        return subprocess.run(command, cwd=self.main, capture_output=True).returncode == 0
