"""The plugin folder: both coding agents find the same in it, and it promises only commands that there are."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any, Final

import click
import pytest

from tracecraft_cli import hook
from tracecraft_cli.main import main
from tracecraft_cli.sidecar import words

ROOT: Final = Path(__file__).parents[2]
MARKET: Final = ROOT / "cli" / "tracecraft_cli" / "plugin"
PLUGIN: Final = MARKET / "tracecraft"


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("manifest", [".claude-plugin", ".codex-plugin"])
def test_a_manifest_has_the_name_and_the_version_of_the_package(manifest: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = read(PLUGIN / manifest / "plugin.json")
    assert (found["name"], found["version"]) == ("tracecraft", project["version"])
    assert all((PLUGIN / found[part]).exists() for part in ("skills", "hooks", "mcpServers") if part in found)


@pytest.mark.parametrize("market", [".claude-plugin", ".agents/plugins"])
def test_a_marketplace_offers_the_plugin_that_lies_in_it(market: str) -> None:
    [offered] = read(MARKET / market / "marketplace.json")["plugins"]
    source = offered["source"]
    assert (MARKET / (source if isinstance(source, str) else source["path"])).resolve() == PLUGIN
    assert offered["name"] == "tracecraft"


def test_every_event_runs_the_one_command_that_its_users_have_trusted() -> None:
    hooks = read(PLUGIN / "hooks" / "hooks.json")["hooks"]
    assert set(hooks) == set(hook.DEADLINES)
    handlers = [handler for groups in hooks.values() for group in groups for handler in group["hooks"]]
    assert {(handler["type"], handler["command"]) for handler in handlers} == {("command", "tracecraft-hook")}
    longest = max(*hook.DEADLINES.values(), hook.FIRST_PROMPT_S)
    assert min(handler["timeout"] for handler in handlers) > longest
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"]["tracecraft-hook"] == "tracecraft_cli.hook:main"


def test_the_hook_is_asked_before_every_tool_that_edits() -> None:
    [group] = read(PLUGIN / "hooks" / "hooks.json")["hooks"]["PreToolUse"]
    assert set(group["matcher"].split("|")) == hook.EDITS | {"Bash"}


def test_skills_and_welcome_name_only_commands_and_options_that_there_are() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (PLUGIN / "skills").glob("*/SKILL.md")]
    texts.append(Path(words.__file__).read_text(encoding="utf-8"))
    named = [line for text in texts for line in re.findall(r"['`]tracecraft ([a-z][a-z-]+[^'`\n\"]*)", text)]
    assert len(named) > 20
    for line in named:
        first, *rest = line.split()
        command = main.get_command(click.Context(main), first)
        assert command is not None, line
        if isinstance(command, click.Group) and rest:
            command = command.get_command(click.Context(command), rest[0]) or command
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= known, line
