"""A program that is told of no server: ``unnamed PORT record TEXT``, or ``unnamed PORT ARGUMENTS OF tracecraft…``.

PORT is where the default address leads, so that no NATS server of whoever runs the tests is spoken to.
"""

from __future__ import annotations

import sys

import tracecraft
from tracecraft_core import settings


def main(port: str, *words: str) -> None:
    """Record a run of one line, or be the command line."""
    settings.DEFAULT_SERVER = f"nats://127.0.0.1:{port}"  # type: ignore[misc]
    if words[0] != "record":
        from tracecraft_cli.main import main as command_line

        sys.argv[1:] = words
        command_line()
        return
    with tracecraft.run("unnamed") as run:
        run.log(words[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
