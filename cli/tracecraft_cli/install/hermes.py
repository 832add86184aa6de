"""Hermes Agent: the plugin comes with the package, in Hermes' own environment; its settings must name it.

`hermes plugins enable` would write config.yaml anew and lose its comments, so the one line is put there by `yaml_list`.
What was there before is noted by `undoing`, so that uninstalling leaves the file as it was.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any, Final

from tracecraft_cli.install import parsed, program, undoing
from tracecraft_cli.install.plan import Plan, Remove, Write
from tracecraft_core import extras
from tracecraft_core.errors import UsageError

NAME: Final = "hermes"
TITLE: Final = "Hermes Agent"
PLUGIN: Final = "tracecraft"
_ASKS: Final = """\
import importlib.metadata
try:
    print(importlib.metadata.version("tracecraft-nats"))
except importlib.metadata.PackageNotFoundError:
    pass
"""


def home() -> Path:
    """Its folder."""
    return Path(os.environ.get("HERMES_HOME") or "~/.hermes").expanduser()


def settings() -> Path:
    """Its settings."""
    return home() / "config.yaml"


def install() -> Plan:
    """What an install does.

    Raises `NotInstalled`; `UsageError` for settings that are broken, and when Hermes' environment has no tracecraft.
    """
    python = interpreter(program.find(NAME, TITLE))
    if python is not None and not version(python):
        command = extras.install(pip=f"{shlex.quote(python)} -m pip install")
        raise UsageError(f"Hermes runs with {python}, which has no tracecraft: {command}, then again")
    parsed.read_yaml(settings())
    before = parsed.text_of(settings()) if settings().exists() else None
    after, change = undoing.made(before, PLUGIN, settings(), undoing.noted(settings()))
    writes = () if after == before else (undoing.noting(settings(), change), _writing(after))
    return Plan(TITLE, writes=writes, left=("begin a new session of Hermes",))


def uninstall() -> Plan:
    """What removing it does: the settings as they were before the install, or without what it has put there.

    The package stays in Hermes' environment, and a plugin that was on before the install stays on: neither was put
    there by it. Raises `UsageError`.
    """
    parsed.read_yaml(settings())
    change = undoing.noted(settings())
    if change is None:
        by_hand = f"{settings()} has {PLUGIN} on, which no install did: 'hermes plugins disable {PLUGIN}' turns it off"
        return Plan(TITLE, left=(by_hand,) if enabled() else ())
    forget = Remove(undoing.note(settings()))
    if not settings().exists():
        return Plan(TITLE, removes=(forget,))
    now = parsed.text_of(settings())
    before = change.before(now, PLUGIN, settings())
    if before is None:
        return Plan(TITLE, removes=(Remove(settings().resolve()), forget))
    return Plan(TITLE, writes=() if before == now else (_writing(before),), removes=(forget,))


def enabled() -> bool:
    """Whether its settings name our plugin."""
    said = parsed.read_yaml(settings()).get("plugins")
    plugins: dict[str, Any] = said if isinstance(said, dict) else {}
    return PLUGIN in (plugins.get("enabled") or []) and PLUGIN not in (plugins.get("disabled") or [])


def interpreter(hermes: str) -> str | None:
    """The Python that Hermes runs with, as the first line of its program tells; ``None`` when it does not."""
    try:
        with Path(hermes).resolve().open("rb") as file:
            first = file.readline(4096).decode("utf-8", "replace").strip()
    except OSError:
        return None
    python = first.removeprefix("#!").strip()
    return python if first.startswith("#!") and "python" in Path(python).name and Path(python).is_file() else None


def version(python: str) -> str:
    """Our version in Hermes' environment; empty without."""
    return program.ask([python, "-I", "-c", _ASKS]).strip()


def _writing(text: str) -> Write:
    return Write(settings(), text.encode(), precious=True)
