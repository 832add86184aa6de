"""`tracecraft install codex` with the real Codex: its own commands, its own settings, and its trust."""

from __future__ import annotations

import json
import subprocess
import tomllib
from typing import TYPE_CHECKING, Any

import pytest

from tests.frameworks.real_agents import codex_binary
from tests.support.folder import short_lived_folder
from tests.support.installing import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("codex_cli_bin")

CONFIG = '# mine\nmodel = "gpt-4o" # tail\n\n[tui]\nnotifications = false\n'


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A machine with Codex, whose person has settings."""
    with short_lived_folder() as home:
        machine = Machine(home / "m")
        machine.link("codex", codex_binary())
        config(machine).parent.mkdir()
        config(machine).write_text(CONFIG)
        yield machine


def config(machine: Machine) -> Path:
    return machine.home / ".codex" / "config.toml"


def trust(machine: Machine) -> None:
    """What a person does with /hooks."""
    with subprocess.Popen(
        ["codex", "app-server"],
        env=machine.env,
        cwd=machine.work,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None

        def ask(id_: int, method: str, params: Any) -> Any:
            assert server.stdin is not None
            assert server.stdout is not None
            server.stdin.write(json.dumps({"jsonrpc": "2.0", "id": id_, "method": method, "params": params}) + "\n")
            server.stdin.flush()
            return next(said["result"] for line in server.stdout if (said := json.loads(line)).get("id") == id_)

        ask(1, "initialize", {"clientInfo": {"name": "person", "version": "1"}})
        hooks = ask(2, "hooks/list", {"cwds": [str(machine.work)]})["data"][0]["hooks"]
        hashes = {hook["key"]: {"trusted_hash": hook["currentHash"]} for hook in hooks}
        edit = {"keyPath": "hooks.state", "value": hashes, "mergeStrategy": "upsert"}
        ask(3, "config/batchWrite", {"edits": [edit]})
        server.kill()


def test_a_dry_run_shows_the_lines_and_changes_nothing(machine: Machine) -> None:
    done = machine.done("install", "codex", "--dry-run")
    shown = done["changes"][str(config(machine))]
    assert '+ [plugins."tracecraft@tracecraft"]' in shown
    assert not any(line.startswith("-") for line in shown)
    assert config(machine).read_text() == CONFIG
    assert not machine.data.exists()


def test_install_twice_and_uninstall(machine: Machine) -> None:
    done = machine.done("install", "codex")
    assert config(machine).read_text().startswith(CONFIG)
    assert "/hooks" in done["left_to_you"][0]
    before = machine.snapshot(machine.data), config(machine).read_bytes()
    assert machine.done("install", "codex")["outcome"] == "already installed"
    assert (machine.snapshot(machine.data), config(machine).read_bytes()) == before
    config(machine).write_text("# since\n" + config(machine).read_text())
    assert machine.done("install", "codex", "--uninstall")["outcome"] == "removed"
    assert config(machine).read_text().strip() == f"# since\n{CONFIG}".strip()
    assert [path for path in machine.snapshot(machine.data) if "/backups/" not in path] == []


def test_nothing_is_trusted_by_an_install_and_doctor_says_so(machine: Machine) -> None:
    machine.done("install", "codex")
    _, (level, message, fix) = machine.findings("Codex")
    assert (level, message) == ("warn", "skips 6 of 6 hooks without a word: they are not trusted")
    assert fix is not None
    assert "/hooks" in fix
    trust(machine)
    assert machine.findings("Codex")[1] == ("ok", "trusts all 6 hooks", None)


def test_doctor_says_when_the_shell_of_codex_does_not_find_tracecraft(machine: Machine) -> None:
    assert machine.findings("Codex shell") == []
    machine.done("install", "codex")
    ((level, message, fix),) = machine.findings("Codex shell")
    assert level == "warn"
    assert str(machine.data / "bin" / "tracecraft") in message
    assert fix is not None
    machine.run("sh", "-c", fix)
    assert machine.findings("Codex shell") == []


def test_a_dry_run_and_a_doctor_leave_the_home_byte_for_byte_as_it_was(machine: Machine) -> None:
    bare = machine.everything()
    machine.done("install", "codex", "--dry-run")
    machine("doctor")
    assert machine.everything() == bare
    machine.done("install", "codex")
    trust(machine)
    installed = machine.everything()
    assert machine.findings("Codex")[1][0] == "ok"
    machine.done("install", "codex", "--dry-run")
    machine.done("install", "codex", "--uninstall", "--dry-run")
    assert machine.everything() == installed


def test_trust_outlives_a_new_version_and_another_environment(machine: Machine) -> None:
    machine.done("install", "codex")
    trust(machine)
    manifest = machine.data / "marketplace" / "tracecraft" / ".codex-plugin" / "plugin.json"
    manifest.write_text(manifest.read_text().replace('"version": "', '"version": "0.0.'))
    machine.run("codex", "plugin", "add", "tracecraft@tracecraft")
    for program in ("tracecraft", "tracecraft-hook"):
        (machine.data / "bin" / program).write_text("#!/bin/sh\nprogram=/elsewhere\n")
    assert machine.findings("Codex")[0][2] == "tracecraft install codex"
    machine.done("install", "codex")
    assert [level for level, _, _ in machine.findings("Codex")] == ["ok", "ok"]


def test_another_marketplace_of_that_name_is_replaced(machine: Machine) -> None:
    machine.done("install", "codex")
    machine.env["XDG_DATA_HOME"] = str(machine.home / "moved")
    machine.done("install", "codex")
    source = tomllib.loads(config(machine).read_text())["marketplaces"]["tracecraft"]["source"]
    assert source.startswith(str(machine.home / "moved"))


def test_broken_settings_are_refused_with_the_place(machine: Machine) -> None:
    config(machine).write_text("a = 1\nb = = 2\n")
    ran = machine("install", "codex")
    assert ran.returncode == 2
    assert "line 2, column 5" in ran.stderr
    assert not machine.data.exists()
