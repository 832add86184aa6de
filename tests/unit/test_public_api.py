"""``import tracecraft``: what it offers, no more and no less."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import tracecraft
from tracecraft_core import errors

SOURCE = Path(str(tracecraft.__file__))

PUBLIC = {
    "Agent", "AsyncClaim", "AsyncSession", "Claim", "Entry", "InboxMessage", "Sent", "SentMessage", "Session", "Task",
    "WaitResult", "connect", "init",
    "BusUnreachable", "ClaimLost", "NotFound", "NothingLeft", "OutcomeUnknown", "OwnerLost", "Refused",
    "FileReserved", "Reservation",
    "RevisionConflict",
    "AsyncRun", "AsyncRunAgent", "BridgeAway", "Flushed", "Run", "RunAgent", "Step", "current_run", "current_step",
    "redact", "run", "traced",
    "TaskFailed", "TaskHeld", "TaskNotReady", "TaskSettled", "TracecraftError", "UsageError", "WaitTimeout",
}  # fmt: skip
"""A new name is a promise: add it here with the change that makes it."""


def test_the_public_names_are_exactly_these_and_sorted() -> None:
    assert set(tracecraft.__all__) == PUBLIC
    assert sorted(tracecraft.__all__) == tracecraft.__all__


def test_every_public_name_is_there_documented_and_listed() -> None:
    for name in tracecraft.__all__:
        assert getattr(tracecraft, name).__doc__, name
        assert name in dir(tracecraft)


def test_type_checkers_are_told_the_same_names() -> None:
    imported = set()
    for node in ast.walk(ast.parse(SOURCE.read_text())):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("tracecraft"):
            imported |= {alias.asname or alias.name for alias in node.names}
    assert imported == set(tracecraft.__all__)


def test_an_unknown_name_is_refused_like_in_any_module() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Sesion'"):
        getattr(tracecraft, "Sesion")  # noqa: B009
    with pytest.raises(ImportError):
        importlib.import_module("tracecraft.sesion")


def test_the_version_is_that_of_the_distribution() -> None:
    from importlib.metadata import version

    assert tracecraft.__version__ == version("tracecraft-nats")


def test_importing_it_pays_for_nothing_heavy() -> None:
    code = "import sys, tracecraft; print(*(m for m in ('asyncio', 'nats', 'pydantic', 'msgspec') if m in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == ""


def test_the_drawing_of_the_error_tree_is_the_tree() -> None:
    drawn = {}
    for line in str(errors.__doc__).splitlines():
        words = line.strip("│├└─ ").split()
        if words and isinstance(getattr(errors, words[0], None), type):
            drawn[words[0]] = next(int(word) for word in words if word.isdigit())
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    tree = {kind.__name__: kind.exit_code for kind in classes if issubclass(kind, errors.TracecraftError)}
    assert drawn == tree
