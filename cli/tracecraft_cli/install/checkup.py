"""What `tracecraft doctor` says of coding agents: is our part there, is it current, is it allowed to run."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tracecraft_cli.diagnosis import Finding
from tracecraft_cli.install import (
    bundle,
    claude,
    codex,
    codex_trust,
    hermes,
    login_shell,
    openclaw,
    parsed,
    place,
    receipts,
)
from tracecraft_core import coding_session, extras
from tracecraft_core.errors import TracecraftError

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_S: Final = 10.0
"""Seconds for one question to a coding agent."""


def findings() -> list[Finding]:
    """A line for each coding agent that is found, and for what they share; none where there is none."""
    looks: dict[str, tuple[str, Callable[[str], list[Finding]]]] = {
        claude.NAME: (claude.TITLE, _claude),
        codex.NAME: (codex.TITLE, _codex),
        hermes.NAME: (hermes.TITLE, _hermes),
        openclaw.NAME: (openclaw.TITLE, _openclaw),
    }
    found: list[Finding] = []
    for name, (title, look) in looks.items():
        path = shutil.which(name)
        if path is not None:
            try:
                found += look(path)
            except TracecraftError as error:
                found.append(Finding("warn", title, str(error), f"tracecraft install {name}"))
    if receipts.read():
        found += [*_programs(), _sockets()]
    return found + _project_servers(Path.cwd())


def _absent(title: str, name: str) -> list[Finding]:
    return [Finding("ok", title, "is here, without tracecraft", f"tracecraft install {name}")]


def _state(title: str, name: str, version: str, fresh: bool) -> Finding:
    """Whether what a coding agent has is what this package would install."""
    if not fresh:
        message = f"has the plugin of tracecraft {version}, which is not the one of this tracecraft {bundle.version()}"
        return Finding("warn", title, message, f"tracecraft install {name}")
    return Finding("ok", title, f"has the plugin of tracecraft {version}")


def _is_fresh() -> bool:
    """Whether the marketplace is what this package would write."""
    return not bundle.missing(bundle.marketplace_files())


def _claude(path: str) -> list[Finding]:
    installed = claude.plugins(path, PATIENCE_S)
    here = [one for one in installed if one.get("scope") != "project" or one.get("projectPath") == str(Path.cwd())]
    if not here:
        return _absent(claude.TITLE, claude.NAME)
    if not any(one.get("enabled") for one in here):
        fix = f"claude plugin enable {claude.PLUGIN}"
        return [Finding("warn", claude.TITLE, "has the plugin, but it is turned off", fix)]
    version = str(here[0].get("folderVersion") or here[0].get("version") or "?")
    ours = here[0].get("readFromFolder") in (None, str(bundle.root(bundle.MARKETPLACE) / bundle.PLUGIN))
    return [_state(claude.TITLE, claude.NAME, version, ours and _is_fresh())]


def _codex(path: str) -> list[Finding]:
    if not codex.has_plugin():
        return _absent(codex.TITLE, codex.NAME)
    copies = sorted(one.name for one in codex.cached().parent.glob("*") if one.is_dir())
    fresh = _is_fresh() and bundle.same(codex.cached())
    return [_state(codex.TITLE, codex.NAME, ", ".join(copies) or "?", fresh), _trust(path), *_shell()]


def _shell() -> list[Finding]:
    """Whether commands of Codex find tracecraft: its shell has a PATH of its own."""
    launcher = place.launcher("tracecraft")
    if not os.access(launcher, os.X_OK) or login_shell.finds(launcher.name):
        return []
    shell = Path(login_shell.path()).name
    message = (
        f"its shell ('{shell} -lc', which reads your profile) does not find 'tracecraft': the model is told to write "
        f"{launcher}, and what you tell it must say that too"
    )
    fix = f"echo 'PATH=\"$PATH:{launcher.parent}\"' >> {login_shell.profile()}"
    return [Finding("warn", "Codex shell", message, fix)]


def _trust(path: str) -> Finding:
    statuses = codex_trust.of_hooks(path, Path.cwd())
    if statuses is None:
        return Finding("warn", codex.TITLE, "does not tell whether its hooks are trusted", "type /hooks in Codex")
    waiting = [status for status in statuses if status not in ("trusted", "managed")]
    if waiting or not statuses:
        message = f"skips {len(waiting)} of {len(statuses)} hooks without a word: they are not trusted"
        return Finding("warn", codex.TITLE, message, "type /hooks in Codex, read them, and trust them")
    return Finding("ok", codex.TITLE, f"trusts all {len(statuses)} hooks")


def _hermes(path: str) -> list[Finding]:
    python = hermes.interpreter(path)
    version = hermes.version(python) if python else "?"
    enabled = hermes.enabled()
    if not enabled:
        return _absent(hermes.TITLE, hermes.NAME)
    if not version:
        fix = extras.install(pip=f"{python} -m pip install")
        return [Finding("bad", hermes.TITLE, "enables the plugin, but its environment has no tracecraft", fix)]
    return [Finding("ok", hermes.TITLE, f"has the plugin of tracecraft {version}, enabled")]


def _openclaw(path: str) -> list[Finding]:
    known = openclaw.plugin(path, PATIENCE_S)
    if known is None:
        return _absent(openclaw.TITLE, openclaw.NAME)
    if not known.get("enabled"):
        return [
            Finding(
                "warn", openclaw.TITLE, "has the plugin, but it is turned off", "openclaw plugins enable tracecraft"
            )
        ]
    fresh = not bundle.missing(openclaw.files(openclaw.who()))
    return [_state(openclaw.TITLE, openclaw.NAME, str(known.get("version") or "?"), fresh)]


def _programs() -> list[Finding]:
    """Whether what coding agents run is still there."""
    for name in place.PROGRAMS:
        target = place.target(name)
        if target is None or not os.access(place.launcher(name), os.X_OK):
            message = f"coding agents run {place.launcher(name)}, which is gone"
            return [Finding("bad", "programs", message, _renew())]
        if not os.access(target, os.X_OK):
            message = f"coding agents run {target}, which is gone: their hooks do nothing, and the tools are missing"
            return [Finding("bad", "programs", message, _renew())]
    return [Finding("ok", "programs", f"coding agents run {place.target('tracecraft-hook')}")]


def _renew() -> str:
    known = [str(one.get("agent")) for one in receipts.read()]
    return f"tracecraft install {known[0] if known else claude.NAME}"


def _sockets() -> Finding:
    """Whether a sidecar has a folder for its socket and its notes, closed to everybody else."""
    folder = coding_session.own_folder()
    if folder is None:
        message = (
            "there is no folder for sidecars that you can write to and nobody else can enter: no session is an agent"
        )
        return Finding("bad", "sidecar", message, "chmod 700 ~/.local/state/tracecraft/coding")
    return Finding("ok", "sidecar", f"{folder} is yours alone")


def _project_servers(folder: Path) -> list[Finding]:
    """MCP servers that `.mcp.json` of this folder names and Claude Code has not been allowed to start."""
    path = folder / ".mcp.json"
    if not path.is_file() or shutil.which(claude.NAME) is None:
        return []
    try:
        servers = parsed.read_json(path).get("mcpServers")
    except TracecraftError as error:
        return [Finding("warn", ".mcp.json", str(error), f"mend {path}")]
    ours = [name for name, server in (servers or {}).items() if _runs_us(server)] if isinstance(servers, dict) else []
    waiting = [name for name in ours if not _decided(name, folder)]
    fix = "claude, then /mcp: approve it there, it is yours to decide"
    return [Finding("warn", ".mcp.json", f"Claude Code waits for your approval of {name}", fix) for name in waiting]


def _runs_us(server: Any) -> bool:
    return isinstance(server, dict) and Path(str(server.get("command", ""))).name == "tracecraft"


def _decided(name: str, folder: Path) -> bool:
    """Whether the person has said yes or no to a server of the project."""
    own = [folder / ".claude" / "settings.local.json", folder / ".claude" / "settings.json", claude.settings("user")]
    said = [_lenient(path) for path in own]
    projects = _lenient(_state_file()).get("projects")
    here = projects.get(str(folder)) if isinstance(projects, dict) else None
    said.append(here if isinstance(here, dict) else {})
    listed = [one.get(key) or [] for one in said for key in ("enabledMcpjsonServers", "disabledMcpjsonServers")]
    return any(name in names for names in listed) or any(one.get("enableAllProjectMcpServers") is True for one in said)


def _state_file() -> Path:
    """Claude Code's own notes: beside its folder, or in one that was named."""
    return claude.home() / ".claude.json" if os.environ.get("CLAUDE_CONFIG_DIR") else Path.home() / ".claude.json"


def _lenient(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
