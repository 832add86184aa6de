"""The program ``tracecraft-bridge``: environment in, process life out."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, Final

import psycopg

from tracecraft_bridge import rebuild
from tracecraft_bridge.database import connect
from tracecraft_bridge.metrics import version
from tracecraft_bridge.service import Service
from tracecraft_bridge.settings import VARIABLES, Settings, from_environment
from tracecraft_core.errors import TracecraftError
from tracecraft_core.settings import load

if TYPE_CHECKING:
    from collections.abc import Callable

COLLECT: Final = (200_000, 10, 20)
"""When to look for cycles: a batch makes a hundred thousand objects without one, and by default a fifth of the time
goes into looking at them."""

HELP: Final = f"""\
Usage: tracecraft-bridge [--help] [--version]
       tracecraft-bridge rebuild

Mirrors the log on the bus into PostgreSQL until it is stopped (SIGTERM, SIGINT). Settings are environment variables:

{VARIABLES}

``rebuild`` has the active bridge, or the next one that starts, make all projections again from the table log.

A second bridge on the same database stands by and takes over. GET /healthz tells how it is, /metrics is for Prometheus.
"""


def main(argv: list[str] | None = None) -> None:
    """Run the bridge; exits with the code of the error tree."""
    arguments = sys.argv[1:] if argv is None else argv
    if "--help" in arguments or "-h" in arguments:
        sys.stdout.write(HELP)
        return
    if "--version" in arguments:
        sys.stdout.write(f"tracecraft-bridge {version()}\n")
        return
    if arguments == ["rebuild"]:
        _want_rebuild()
        return
    if arguments:
        _fail(f"unknown argument {arguments[0]!r}; see tracecraft-bridge --help", 2)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    gc.set_threshold(*COLLECT)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(from_environment(os.environ, load().server_options())))
    except TracecraftError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        _fail(f"cannot listen: {error}; choose another address with TRACECRAFT_BRIDGE_LISTEN or _OTLP_LISTEN", 1)


def _want_rebuild() -> None:
    try:
        asyncio.run(_rebuild(from_environment(os.environ, load().server_options())))
    except TracecraftError as error:
        _fail(str(error), error.exit_code)
    except psycopg.Error as error:
        _fail(f"PostgreSQL: {error}", 1)
    sys.stdout.write("the active bridge makes the projections again; /healthz says when it is done\n")


async def _rebuild(settings: Settings) -> None:
    async with await connect(settings.postgres, "rebuild") as connection:
        await rebuild.want(connection)


async def _serve(settings: Settings) -> None:
    service = Service(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.stop)
    await service.run()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where there is one: everywhere but on Windows."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _fail(reason: str, code: int) -> None:
    sys.stderr.write(f"tracecraft-bridge: {reason}\n")
    sys.exit(code)
