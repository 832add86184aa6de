"""``tracecraft session``: one module a sub-command."""

from __future__ import annotations

from typing import Final

import click

from tracecraft_cli.lazy import LazyGroup

TABLE: Final = {
    "mirror": "Take transcripts into runs, once.",
    "watch": "Take transcripts into runs as they are written.",
    "list": "The sessions that are here, and those that are mirrored.",
    "show": "The conversation of a session.",
    "search": "Find a text in sessions.",
}


@click.group(cls=LazyGroup, package="tracecraft_cli.commands.session", table=TABLE)
def command() -> None:
    """Sessions of coding agents: Claude Code, Codex, Hermes and OpenClaw, from the transcripts they keep.

    Nothing leaves this machine that you did not ask for: a session is mirrored when you name it, or say --all. Secrets
    are redacted before. What is mirrored is a run, for 'runs inspect', 'replay', 'cost' and all else.

    Example: tracecraft session mirror --since 2d --folder .
    """
