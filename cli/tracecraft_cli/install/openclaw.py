"""OpenClaw: a plugin folder of its own, which the person installs: OpenClaw wants consent to what a plugin may do."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tracecraft_cli.install import bundle, program, receipts
from tracecraft_cli.install.plan import Plan, Run

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME: Final = "openclaw"
TITLE: Final = "OpenClaw"
PLUGIN: Final = "tracecraft"


def home() -> Path:
    """Its folder."""
    return Path(os.environ.get("OPENCLAW_STATE_DIR") or "~/.openclaw").expanduser()


def receipt() -> dict[str, Any]:
    """What is written down of an install."""
    return receipts.made(NAME, home())


def files(who: Mapping[str, str]) -> dict[Path, bytes]:
    """The plugin; ``who`` is the agent as which OpenClaw acts, and its project."""
    return bundle.openclaw_files({f"TRACECRAFT_{name.upper()}": value for name, value in who.items()})


def who() -> dict[str, str]:
    """As whom it acts since the last install; empty without one."""
    try:
        said = json.loads((bundle.root(bundle.OPENCLAW) / "settings.json").read_bytes())["environment"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {name.removeprefix("TRACECRAFT_").lower(): str(value) for name, value in said.items()}


def install() -> Plan:
    """What an install does: nothing of OpenClaw's own is changed. Raises `NotInstalled`."""
    openclaw = program.find(NAME, TITLE)
    folder = shlex.quote(str(bundle.root(bundle.OPENCLAW)))
    known = plugin(openclaw)
    if known is None:
        command = f"openclaw plugins install --link {folder}"
        ask = f"read what is in that folder, then: {command} --force --accept-capabilities"
        why = "OpenClaw asks for your consent to a plugin that does not come from its hub; nobody can give it for you"
        mail = (
            "to be told of mail at the beginning of a turn, let it see conversations: "
            "openclaw config set plugins.entries.tracecraft.hooks.allowConversationAccess true"
        )
        return Plan(TITLE, left=(ask, why, mail))
    return Plan(TITLE, left=("after a change: openclaw plugins reload tracecraft, or restart the gateway",))


def uninstall() -> Plan:
    """What removing it does: OpenClaw's own command takes out what its install put in."""
    openclaw = program.find(NAME, TITLE)
    runs = [] if plugin(openclaw) is None else [Run((openclaw, "plugins", "uninstall", PLUGIN, "--force"))]
    return Plan(TITLE, runs=tuple(runs))


def plugin(openclaw: str, patience: float = program.PATIENCE_S) -> dict[str, Any] | None:
    """What OpenClaw knows of our plugin."""
    listed = program.ask_json([openclaw, "plugins", "list", "--json"], patience=patience)
    known = listed.get("plugins") if isinstance(listed, dict) else None
    found = [one for one in known or [] if isinstance(one, dict) and one.get("id") == PLUGIN]
    return found[0] if found else None
