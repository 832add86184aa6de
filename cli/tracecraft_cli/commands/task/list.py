"""``tracecraft task list``: the same as ``tracecraft tasks``."""

from __future__ import annotations

from tracecraft_cli.commands.tasks import command

__all__ = ["command"]
