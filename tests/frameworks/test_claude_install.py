"""`tracecraft install claude` with the real Claude Code: its own commands, its own settings, its own hooks."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.frameworks.real_agents import claude_binary
from tests.support.coding_agent import until
from tests.support.folder import short_lived_folder
from tests.support.installing import Machine
from tests.support.stub_model import say
from tracecraft_core import coding_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.stub_model import StubModel

pytest.importorskip("claude_agent_sdk")

SETTINGS = {"zeta": [1, 2], "model": "sonnet", "hooks": {}, "enabledPlugins": {"other@market": False}}


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A machine with Claude Code, whose person has settings."""
    with short_lived_folder() as home:
        machine = Machine(home / "m")
        machine.link("claude", claude_binary())
        settings = machine.home / ".claude" / "settings.json"
        settings.parent.mkdir()
        settings.write_text(json.dumps(SETTINGS))
        settings.chmod(0o600)
        yield machine


def settings(machine: Machine) -> Path:
    return machine.home / ".claude" / "settings.json"


def plugins(machine: Machine) -> list[dict[str, object]]:
    found = json.loads(machine.run("claude", "plugin", "list", "--json").stdout)
    return [one for one in found if one["id"] == "tracecraft@tracecraft"]


def test_a_dry_run_shows_the_lines_and_changes_nothing_of_the_persons(machine: Machine) -> None:
    done = machine.done("install", "claude", "--dry-run")
    assert '+     "tracecraft@tracecraft": true' in done["changes"][str(settings(machine))]
    assert not any(
        line.startswith("-") and "other@market" not in line for line in done["changes"][str(settings(machine))]
    )
    assert json.loads(settings(machine).read_text()) == SETTINGS
    assert not machine.data.exists()


@pytest.mark.parametrize("scope", ["user", "project"])
def test_a_dry_run_and_a_doctor_leave_the_home_byte_for_byte_as_it_was(scope: str, machine: Machine) -> None:
    for name in ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "DISABLE_AUTOUPDATER"):
        del machine.env[name]
    bare = machine.everything()
    machine.done("install", "claude", "--dry-run", "--scope", scope)
    machine("doctor")
    assert machine.everything() == bare
    machine.done("install", "claude", "--scope", scope)
    installed = machine.everything()
    assert machine.findings("Claude Code")[0][0] == "ok"
    machine.done("install", "claude", "--dry-run", "--scope", scope)
    machine.done("install", "claude", "--uninstall", "--dry-run", "--scope", scope)
    assert machine.everything() == installed


def test_install_twice_and_uninstall(machine: Machine) -> None:
    machine.done("install", "claude")
    said = json.loads(settings(machine).read_text())
    assert said["enabledPlugins"] == {"other@market": False, "tracecraft@tracecraft": True}
    assert {key: said[key] for key in ("zeta", "model", "hooks")} == {
        key: SETTINGS[key] for key in ("zeta", "model", "hooks")
    }
    assert settings(machine).stat().st_mode & 0o777 == 0o600
    before = machine.snapshot(machine.data), settings(machine).stat().st_mtime_ns
    assert machine.done("install", "claude")["outcome"] == "already installed"
    assert (machine.snapshot(machine.data), settings(machine).stat().st_mtime_ns) == before
    said["since"] = True
    settings(machine).write_text(json.dumps(said))
    assert machine.done("install", "claude", "--uninstall")["outcome"] == "removed"
    left = json.loads(settings(machine).read_text())
    assert {key: one for key, one in left.items() if one != {} or key == "hooks"} == SETTINGS | {"since": True}
    assert [path for path in machine.snapshot(machine.data) if "/backups/" not in path] == []
    assert plugins(machine) == []


def test_the_plugin_is_valid_in_the_eyes_of_claude_code(machine: Machine) -> None:
    machine.done("install", "claude")
    for folder in (machine.data / "marketplace", machine.data / "marketplace" / "tracecraft"):
        ran = machine.run("claude", "plugin", "validate", str(folder))
        assert ran.returncode == 0, ran.stdout


def test_an_install_for_a_project_is_for_that_project(machine: Machine) -> None:
    machine.run("git", "init", "-q")
    machine.done("install", "claude", "--scope", "project")
    named = machine.work / ".claude" / "settings.json"
    assert json.loads(named.read_text()) == {"enabledPlugins": {"tracecraft@tracecraft": True}}
    assert "tracecraft@tracecraft" not in json.loads(settings(machine).read_text())["enabledPlugins"]
    machine.done("install", "claude")
    machine.done("install", "claude", "--uninstall", "--scope", "project")
    assert [one["scope"] for one in plugins(machine)] == ["user"]


def test_broken_settings_are_refused_with_the_place(machine: Machine) -> None:
    settings(machine).write_text('{"model": "x",\n bad}')
    ran = machine("install", "claude")
    assert ran.returncode == 2
    assert "line 2, column 2" in ran.stderr
    assert not machine.data.exists()


def test_doctor_tells_what_is_wrong(machine: Machine) -> None:
    assert machine.findings("Claude Code") == [("ok", "is here, without tracecraft", "tracecraft install claude")]
    machine.done("install", "claude")
    assert [level for level, _, _ in machine.findings("Claude Code")] == ["ok"]
    (machine.data / "marketplace" / "tracecraft" / "hooks" / "hooks.json").write_text("{}")
    assert machine.findings("Claude Code")[0][2] == "tracecraft install claude"
    shutil.rmtree(machine.data / "bin")
    ((level, message, fix),) = machine.findings("programs")
    assert (level, fix) == ("bad", "tracecraft install claude")
    assert "which is gone" in message
    machine.done("install", "claude")
    assert [level for check in ("Claude Code", "programs") for level, _, _ in machine.findings(check)] == ["ok", "ok"]
    machine.run("claude", "plugin", "disable", "tracecraft@tracecraft")
    assert machine.findings("Claude Code")[0][2] == "claude plugin enable tracecraft@tracecraft"


def test_its_hooks_run_with_nothing_of_ours_on_the_path(machine: Machine, model: StubModel) -> None:
    machine.done("install", "claude")
    machine.env |= {
        "ANTHROPIC_BASE_URL": model.url,
        "ANTHROPIC_API_KEY": "stub",
        "TRACECRAFT_AGENT": "alice",
        "TRACECRAFT_HOOK_DEADLINE": "15",
        "TMPDIR": str(machine.home),
    }
    model.answer(say("done"))
    ran = machine.run("claude", "-p", "go on", "--model", "claude-sonnet-4-5")
    assert ran.returncode == 0, ran.stderr
    assert "You are the agent 'alice'" in json.dumps(model.requests[0].body)
    folder = machine.home / "state" / "tracecraft" / "coding"
    found = (coding_session.read(str(path)) for path in folder.glob("*.json"))
    until(lambda: not [one for one in found if one is not None and one.sidecar_lives()], "the sidecar has left")
