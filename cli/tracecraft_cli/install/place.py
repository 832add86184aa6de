"""Where the installed plugins lie: one folder of the user, whose paths do not change with versions or environments.

Coding agents start our programs with a PATH of their own, and Codex trusts a hook by its command, word for word. So the
command is an absolute path in this folder; behind it stands a launcher that knows in which environment tracecraft is.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Final

PROGRAMS: Final = {"tracecraft": "tracecraft_cli", "tracecraft-hook": "tracecraft_cli.hook"}
"""What coding agents run, and the module of each."""

_LAUNCHER: Final = """\
#!/bin/sh
# Written by 'tracecraft install': coding agents run this, wherever tracecraft is. 'tracecraft install' renews it.
program={program}
{before}[ -x "$program" ] && exec "$program"{arguments} "$@"
{otherwise}
"""

_BEFORE: Final = {
    "tracecraft": "",
    "tracecraft-hook": "trap '' INT  # Ctrl-C is for the coding agent, also before Python heeds it\n",
}
_GONE: Final = "tracecraft is not at $program any more: install it, then run 'tracecraft install' again"
_OTHERWISE: Final = {
    "tracecraft": f'echo "{_GONE}" >&2\nexit 127',
    "tracecraft-hook": "cat >/dev/null\necho '{}'",  # a hook must never stop a coding agent
}


def folder() -> Path:
    """The folder of everything that `tracecraft install` writes."""
    from platformdirs import user_data_path

    return user_data_path("tracecraft", appauthor=False) / "coding-agents"


def launcher(program: str) -> Path:
    """The path by which a coding agent runs a program of ours."""
    return folder() / "bin" / program


def launcher_text(program: str) -> str:
    """The launcher's text: it runs the program of the environment that this process runs in."""
    first, *rest = own(program)
    arguments = "".join(f" {word}" for word in rest)
    return _LAUNCHER.format(
        program=shlex.quote(first), arguments=arguments, before=_BEFORE[program], otherwise=_OTHERWISE[program]
    )


def own(program: str) -> list[str]:
    """How to run the program in the environment that this process runs in."""
    python = Path(sys.executable).absolute()
    beside = python.parent / program
    # -P: what lies in the coding agent's folder must not be taken for a module of ours.
    return [str(beside)] if beside.is_file() else [str(python), "-P", "-m", PROGRAMS[program]]


def in_shell_of(kind: str) -> str:
    """What the shell of a coding agent (``claude``, ``codex``) calls tracecraft.

    Claude Code puts the plugin's own on the PATH of its shell. Codex' is a login shell, whose profile often sets PATH
    anew, without the environment in which tracecraft is: there it is a path, the launcher's where there is one.
    """
    if kind != "codex":
        return "tracecraft"
    if os.access(launcher("tracecraft"), os.X_OK):
        return shlex.quote(str(launcher("tracecraft")))
    return shlex.join(own("tracecraft"))


def target(program: str) -> Path | None:
    """What a launcher that is there runs; ``None`` without a launcher."""
    try:
        lines = launcher(program).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    words = [shlex.split(line.removeprefix("program=")) for line in lines if line.startswith("program=")]
    return Path(words[0][0]) if words and words[0] else None
