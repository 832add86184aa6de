"""The plugin folder as it is installed: programs by a path that does not change, and a launcher behind it."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tracecraft_cli.install import bundle, doing, parsed, place
from tracecraft_cli.install.plan import Plan, Write
from tracecraft_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's data folder, whose path has a space, as on macOS."""
    folder = tmp_path / "Application Support"
    monkeypatch.setenv("XDG_DATA_HOME", str(folder))
    monkeypatch.setattr(place, "folder", lambda: folder / "tracecraft" / "coding-agents")
    return folder


def commands(value: Any) -> Iterator[dict[str, Any]]:
    """Every object that names a command."""
    if isinstance(value, list):
        for one in value:
            yield from commands(one)
    elif isinstance(value, dict):
        if "command" in value:
            yield value
        for one in value.values():
            yield from commands(one)


def rendered(name: str) -> Any:
    files = {str(path.relative_to(place.folder())): content for path, content in bundle.marketplace_files().items()}
    return json.loads(files[f"marketplace/tracecraft/{name}"])


def test_every_hook_runs_the_launcher_by_its_path() -> None:
    found = [one["command"] for one in commands(rendered("hooks/hooks.json"))]
    assert len(found) == 6
    assert {tuple(shlex.split(one)) for one in found} == {(str(place.launcher("tracecraft-hook")),)}


def test_the_mcp_server_is_the_launcher_unquoted_for_no_shell_reads_it() -> None:
    assert [one["command"] for one in commands(rendered(".mcp.json"))] == [str(place.launcher("tracecraft"))]


def test_both_manifests_have_the_version_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "version", lambda: "98.7.6")
    versions = {rendered(f".{one}-plugin/plugin.json")["version"] for one in ("claude", "codex")}
    assert versions == {"98.7.6"}


def test_the_hooks_do_not_change_with_the_environment_that_tracecraft_is_in(monkeypatch: pytest.MonkeyPatch) -> None:
    before, launcher = bundle.marketplace_files(), bundle.launcher_files()
    monkeypatch.setattr(sys, "executable", "/elsewhere/bin/python")
    assert bundle.marketplace_files() == before
    assert bundle.launcher_files() != launcher


def test_what_openclaw_gets_says_as_whom_it_acts() -> None:
    files = bundle.openclaw_files({"TRACECRAFT_AGENT": "claw"})
    manifest = json.loads(files[bundle.root(bundle.OPENCLAW) / "openclaw.plugin.json"])
    server = manifest["mcpServers"]["tracecraft"]
    assert (server["command"], server["env"]) == (str(place.launcher("tracecraft")), {"TRACECRAFT_AGENT": "claw"})
    assert bundle.root(bundle.OPENCLAW) / "skills" / "coordinate" / "SKILL.md" in files


@pytest.mark.parametrize("skill", ["coordinate", "handoff"])
def test_a_skill_names_the_launcher_before_its_first_command(skill: str) -> None:
    name = bundle.root(bundle.MARKETPLACE) / "tracecraft" / "skills" / skill / "SKILL.md"
    said = bundle.marketplace_files()[name].decode()
    _, _, text = said.split("---\n", 2)
    title, where, *_ = [line for line in text.splitlines() if line]
    assert title.startswith("# ")
    (launcher,) = shlex.split(where.split("`")[3])
    assert launcher == str(place.launcher("tracecraft"))


def test_the_shell_of_codex_is_told_a_path_and_that_of_claude_code_has_the_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert place.in_shell_of("claude") == "tracecraft"
    assert place.in_shell_of("codex") == shlex.join(place.own("tracecraft"))
    doing.do(Plan("launchers", writes=tuple(bundle.missing(bundle.launcher_files()))))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    told = place.in_shell_of("codex")
    assert shlex.split(told) == [str(place.launcher("tracecraft"))]
    done = subprocess.run(["bash", "-c", f"{told} --version"], capture_output=True, text=True, check=True)
    assert bundle.version() in done.stdout


def test_what_is_on_disk_is_not_written_again() -> None:
    files = bundle.launcher_files() | bundle.marketplace_files()
    doing.do(Plan("all", writes=tuple(bundle.missing(files))))
    assert bundle.missing(files) == []
    stale = bundle.root(bundle.MARKETPLACE) / "tracecraft" / "old.json"
    stale.write_text("{}")
    assert [one.path for one in bundle.superfluous(bundle.MARKETPLACE, files)] == [stale]


@pytest.mark.parametrize("beside", [True, False], ids=["program", "module"])
def test_the_launcher_runs_the_program(beside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not beside:  # an environment without the console script
        python = tmp_path / "bin" / "python"
        python.parent.mkdir()
        python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
        python.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(python))
    doing.do(Plan("launchers", writes=tuple(bundle.missing(bundle.launcher_files()))))
    done = subprocess.run([place.launcher("tracecraft"), "--version"], capture_output=True, text=True, check=True)
    assert bundle.version() in done.stdout


def test_a_hook_whose_program_is_gone_still_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/gone/bin/python")
    doing.do(Plan("launchers", writes=tuple(bundle.missing(bundle.launcher_files()))))
    hook = subprocess.run([place.launcher("tracecraft-hook")], input="{}" * 99_999, capture_output=True, text=True)
    assert (hook.returncode, hook.stdout, hook.stderr) == (0, "{}\n", "")
    other = subprocess.run([place.launcher("tracecraft")], capture_output=True, text=True, check=False)
    assert other.returncode == 127
    assert "not at /gone/bin/python any more" in other.stderr


def test_a_file_of_the_persons_keeps_its_mode_and_its_link_and_a_copy(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles" / "config.yaml"
    real.parent.mkdir()
    real.write_text("a: 1\n")
    real.chmod(0o640)
    link = tmp_path / "config.yaml"
    link.symlink_to(real)
    (backup,) = doing.do(Plan("one", writes=(Write(link, b"a: 2\n", precious=True),)))
    assert link.is_symlink()
    assert (real.read_text(), real.stat().st_mode & 0o777) == ("a: 2\n", 0o640)
    assert (backup.read_text(), backup.stat().st_mode & 0o777) == ("a: 1\n", 0o600)


@pytest.mark.parametrize(
    ("reader", "text", "where"),
    [
        (parsed.read_json, '{"a": 1,\n "b" 2}', "line 2, column 6"),
        (parsed.read_toml, "a = 1\nb = = 2\n", "line 2, column 5"),
        (parsed.read_yaml, "a: 1\nb: [1, 2\n", "line 3, column 1"),
        (parsed.read_json, "[1]", "it holds a list"),
        (parsed.read_yaml, b"a: \xff\n", "byte 3 is not UTF-8"),
    ],
    ids=["json", "toml", "yaml", "list", "not-text"],
)
def test_a_broken_file_is_refused_with_the_place(reader: Any, text: str | bytes, where: str, tmp_path: Path) -> None:
    path = tmp_path / "settings"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(UsageError, match=where):
        reader(path)
