"""``tracecraft hook``: the same as ``tracecraft-hook``, which costs a third of the time."""

from __future__ import annotations

import click

from tracecraft_cli.options import Common, common


@click.command()
@common
def command(common: Common) -> None:
    """Answer an event of Claude Code or Codex: JSON on standard input, what the agent should know on standard output.

    The plugin runs 'tracecraft-hook', which does the same and starts faster. A session's first event starts its
    sidecar, which is the agent on the bus until the session ends. The exit code is 0 whatever happens, and nothing is
    written to standard error: a coding agent is never stopped by us. Output is JSON in the coding agent's own form,
    with --json or without.

    Example: tracecraft hook < event.json
    """
    from tracecraft_cli import hook

    hook.main()
