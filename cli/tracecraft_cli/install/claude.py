"""Claude Code: its own `claude plugin` commands install the folder, from which it then reads in place."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from tracecraft_cli.install import bundle, copied, parsed, program, receipts
from tracecraft_cli.install.plan import Plan, Rehearsed, Run

NAME: Final = "claude"
TITLE: Final = "Claude Code"
PLUGIN: Final = "tracecraft@tracecraft"
MARKETPLACE: Final = "tracecraft"

_READ: Final = ("settings.json", "plugins/known_marketplaces.json", "plugins/installed_plugins.json")
"""What Claude Code reads of its folder when it is asked for plugins, installs or removes."""
_ELSEWHERE: Final = {
    "CLAUDE_CONFIG_DIR": "{folder}",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "DISABLE_TELEMETRY": "1",
}
"""Variables with which it works on a copy, tells nobody and renews nothing."""


def home() -> Path:
    """Its folder of settings."""
    return Path(os.environ.get("CLAUDE_CONFIG_DIR") or "~/.claude").expanduser()


def settings(scope: str) -> Path:
    """The file that says which plugins are on."""
    return (Path.cwd() / ".claude" if scope == "project" else home()) / "settings.json"


def receipt(scope: str) -> dict[str, Any]:
    """What is written down of an install."""
    place = {"folder": str(Path.cwd())} if scope == "project" else {}
    return receipts.made(NAME, home(), scope=scope, **place)


def install(scope: str) -> Plan:
    """What an install does. Raises `NotInstalled`, and `UsageError` for settings that are broken."""
    claude = program.find(NAME, TITLE)
    parsed.read_json(settings("user"))
    parsed.read_json(settings(scope))
    runs = []
    if not _knows_the_marketplace(claude):
        runs.append(Run((claude, "plugin", "marketplace", "add", str(bundle.root(bundle.MARKETPLACE)))))
    here = _here(plugins(claude), scope)
    if here is None:
        runs.append(Run((claude, "plugin", "install", PLUGIN, "--scope", scope)))
    else:
        if here.get("version") != bundle.version():
            runs.append(Run((claude, "plugin", "update", PLUGIN, "--scope", scope)))
        if not here.get("enabled"):
            runs.append(Run((claude, "plugin", "enable", PLUGIN, "--scope", scope)))
    return Plan(TITLE, runs=tuple(runs), rehearsal=_rehearsal(scope), left=_left(scope))


def uninstall(scope: str) -> Plan:
    """What removing it does."""
    claude = program.find(NAME, TITLE)
    parsed.read_json(settings("user"))
    parsed.read_json(settings(scope))
    everywhere = plugins(claude)
    here = _here(everywhere, scope)
    runs = [] if here is None else [Run((claude, "plugin", "uninstall", PLUGIN, "--scope", scope))]
    others = [one for one in everywhere if one is not here]
    if not others and _knows_the_marketplace(claude):
        runs.append(Run((claude, "plugin", "marketplace", "remove", MARKETPLACE)))
    return Plan(TITLE, runs=tuple(runs), rehearsal=_rehearsal(scope))


def plugins(claude: str, patience: float = program.PATIENCE_S) -> list[dict[str, Any]]:
    """Where Claude Code has our plugin: user, projects."""
    listed = _ask([claude, "plugin", "list", "--json"], patience)
    return [one for one in listed if isinstance(one, dict) and one.get("id") == PLUGIN]


def _ask(argv: list[str], patience: float = program.PATIENCE_S) -> Any:
    """What Claude Code answers, asked on a copy of the person's settings."""
    with copied.folder(home(), _READ) as copy:
        environment = {name: value.format(folder=copy) for name, value in _ELSEWHERE.items()}
        return program.ask_json(argv, environment=environment, patience=patience)


def _here(found: list[dict[str, Any]], scope: str) -> dict[str, Any] | None:
    here = [
        one
        for one in found
        if one.get("scope") == scope and (scope != "project" or one.get("projectPath") == str(Path.cwd()))
    ]
    return here[0] if here else None


def _knows_the_marketplace(claude: str) -> bool:
    listed = _ask([claude, "plugin", "marketplace", "list", "--json"])
    wanted = str(bundle.root(bundle.MARKETPLACE))
    known = [one for one in listed if isinstance(one, dict)]
    return any(one.get("name") == MARKETPLACE and one.get("path") == wanted for one in known)


def _rehearsal(scope: str) -> Rehearsed | None:
    # In a project the commands write two files, one of them below the folder they run in.
    if scope != "user":
        return None
    return Rehearsed(settings("user"), _ELSEWHERE, _READ, "json")


def _left(scope: str) -> tuple[str, ...]:
    begin = "begin a new session, or type /reload-plugins in one that runs"
    look = "the plugin runs hooks and an MCP server as you: /hooks and /mcp show them, /plugin turns them off"
    shared = (
        "others who work on this project run 'tracecraft install claude' themselves: "
        ".claude/settings.json names the plugin, not where it lies on this machine"
    )
    return (begin, look, shared) if scope == "project" else (begin, look)
