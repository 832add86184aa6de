"""Codex: its own `codex plugin` commands copy the folder. Its hooks run only when the person has trusted them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from tracecraft_cli.install import bundle, parsed, program, receipts
from tracecraft_cli.install.plan import Plan, Rehearsed, Run

NAME: Final = "codex"
TITLE: Final = "Codex"
PLUGIN: Final = "tracecraft@tracecraft"
MARKETPLACE: Final = "tracecraft"

TRUST: Final = (
    "type /hooks in Codex, read them, and trust them: Codex skips a hook that you have not trusted, without a word. "
    "Nobody can do that for you; their command stays the same, so you are asked once"
)


def home() -> Path:
    """Its folder."""
    return Path(os.environ.get("CODEX_HOME") or "~/.codex").expanduser()


def receipt() -> dict[str, Any]:
    """What is written down of an install."""
    return receipts.made(NAME, home())


def install() -> Plan:
    """What an install does. Raises `NotInstalled`, and `UsageError` for settings that are broken."""
    codex = program.find(NAME, TITLE)
    said = parsed.read_toml(_settings())
    runs, known = [], _marketplace(said)
    wanted = str(bundle.root(bundle.MARKETPLACE))
    if known not in (None, wanted):
        runs.append(Run((codex, "plugin", "marketplace", "remove", MARKETPLACE)))
    if known != wanted:
        runs.append(Run((codex, "plugin", "marketplace", "add", wanted)))
    if runs or not _enabled(said) or not bundle.same(cached()):
        runs.append(Run((codex, "plugin", "add", PLUGIN)))
    return Plan(TITLE, runs=tuple(runs), rehearsal=_rehearsal(), left=(TRUST,))


def uninstall() -> Plan:
    """What removing it does. What Codex remembers of your trust is yours and stays."""
    codex = program.find(NAME, TITLE)
    said = parsed.read_toml(_settings())
    runs = []
    if _entry(said) is not None:
        runs.append(Run((codex, "plugin", "remove", PLUGIN)))
    if _marketplace(said) is not None:
        runs.append(Run((codex, "plugin", "marketplace", "remove", MARKETPLACE)))
    return Plan(TITLE, runs=tuple(runs), rehearsal=_rehearsal())


def cached(version: str | None = None) -> Path:
    """The copy of the plugin that Codex runs."""
    return home() / "plugins" / "cache" / MARKETPLACE / bundle.PLUGIN / (version or bundle.version())


def has_plugin() -> bool:
    """Whether our plugin is in its settings, and on."""
    return _enabled(parsed.read_toml(_settings()))


def _settings() -> Path:
    return home() / "config.toml"


def _marketplace(said: dict[str, Any]) -> str | None:
    found = _table(said, "marketplaces", MARKETPLACE)
    return None if found is None else str(found.get("source", ""))


def _entry(said: dict[str, Any]) -> dict[str, Any] | None:
    return _table(said, "plugins", PLUGIN)


def _table(said: dict[str, Any], *names: str) -> dict[str, Any] | None:
    found: Any = said
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else None


def _enabled(said: dict[str, Any]) -> bool:
    entry = _entry(said)
    return entry is not None and entry.get("enabled", True) is True


def _rehearsal() -> Rehearsed:
    return Rehearsed(_settings(), {"CODEX_HOME": "{folder}"}, ("config.toml",), "toml")
