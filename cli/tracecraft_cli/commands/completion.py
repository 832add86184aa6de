"""``tracecraft completion``."""

from __future__ import annotations

from typing import Final

import click

from tracecraft_cli.options import Common, common
from tracecraft_cli.output import emit

SHELLS: Final = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@common
def command(common: Common, shell: str) -> None:
    """Print the script that makes SHELL complete commands and options. Asks no server.

    Example: tracecraft completion bash > ~/.local/share/bash-completion/completions/tracecraft
    """
    from click.shell_completion import get_completion_class

    main = click.get_current_context().find_root().command
    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(main, {}, "tracecraft", "_TRACECRAFT_COMPLETE").source()
    emit(common.as_json, {"shell": shell, "script": script}, script)
