"""`tracecraft install hermes` with the real Hermes: after it, Hermes says that the plugin is enabled."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.support.installing import Machine

pytest.importorskip("hermes_cli")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with Hermes."""
    machine = Machine(tmp_path / "m")
    machine.link("hermes", Path(sys.executable).parent / "hermes")
    return machine


def status(machine: Machine) -> str:
    found = json.loads(machine.run("hermes", "plugins", "list", "--json", "--no-bundled").stdout)
    return next(str(one["status"]) for one in found if one["name"] == "tracecraft")


def test_hermes_enables_what_was_installed_and_nothing_after_uninstall(machine: Machine) -> None:
    assert status(machine) == "not enabled"
    machine.done("install", "hermes")
    assert status(machine) == "enabled"
    assert [level for level, _, _ in machine.findings("Hermes Agent")] == ["ok"]
    machine.done("install", "hermes", "--uninstall")
    assert status(machine) == "not enabled"


def test_what_hermes_was_told_to_leave_off_is_on_after_an_install(machine: Machine) -> None:
    machine.run("hermes", "plugins", "disable", "tracecraft")
    machine.done("install", "hermes")
    assert status(machine) == "enabled"
