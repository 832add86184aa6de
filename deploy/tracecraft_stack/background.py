"""``tracecraft serve --detach`` and ``tracecraft stop``: a supervisor that outlives the command that started it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from tracecraft_core.errors import StackError
from tracecraft_core.local import STATE_FILE, StackState
from tracecraft_stack.child import KILL_PATIENCE_S
from tracecraft_stack.layout import Layout
from tracecraft_stack.lock import FolderLock, read_holder
from tracecraft_stack.options import StackEvent, StackOptions, dump_options, say_nothing

if TYPE_CHECKING:
    from pathlib import Path

    from tracecraft_stack.identity import Identity
    from tracecraft_stack.options import Report

STOP_PATIENCE_S: Final = 90.0
"""The sum of what the servers may take, and some."""


class News(msgspec.Struct, omit_defaults=True):
    """One line from a supervisor in the background to the command that started it: one field is set."""

    event: StackEvent | None = None
    state: StackState | None = None
    error: str = ""


def detach(options: StackOptions, report: Report = say_nothing) -> StackState:
    """Starts a stack in the background and waits until it is ready.

    The supervisor is a session of its own, logs to ``logs/supervisor.log`` in the data folder, and runs until
    `stop_running` or a signal.

    Raises `StackError` with the supervisor's own words when the stack does not come up.
    """
    layout = Layout(options.data.absolute())
    layout.make()
    receive, send = os.pipe()
    try:
        _launch(layout, options, send)
    finally:
        os.close(send)
    with open(receive, "rb") as news:
        for line in news:
            said = msgspec.json.decode(line, type=News)
            if said.event is not None:
                report(said.event)
            if said.state is not None:
                return said.state
            if said.error:
                raise StackError(said.error)
    raise StackError(f"the supervisor ended without a word: see {layout.log('supervisor')}")


def stop_running(data: Path, patience: float = STOP_PATIENCE_S) -> bool:
    """Stops the stack of a data folder and waits until all of it is gone; whether there was anything to stop.

    Args:
        data: the data folder.
        patience: seconds after which the supervisor is killed, and what it leaves is stopped one by one.

    Raises `StackError` when the supervisor belongs to another user.
    """
    data = data.absolute()
    if not data.is_dir():
        return False
    holder = read_holder(data)
    ran = holder is not None and _end(holder, patience)
    with FolderLock(data):
        orphans = Layout(data).stop_orphans()
        (data / STATE_FILE).unlink(missing_ok=True)
    return ran or bool(orphans)


def _launch(layout: Layout, options: StackOptions, send: int) -> None:
    """By way of a shell that goes away at once, so that the supervisor is nobody's child and never a zombie."""
    argv = [sys.executable, "-m", "tracecraft_stack", str(send), dump_options(options)]
    with layout.log("supervisor").open("ab") as log:
        layout.log("supervisor").chmod(0o600)
        subprocess.run(
            ["/bin/sh", "-c", '"$@" &', "sh", *argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(send,),
            start_new_session=True,
            check=True,
        )


def _end(holder: Identity, patience: float) -> bool:
    import psutil

    process = holder.process()
    if process is None:
        return False
    try:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
            if not holder.await_end(patience):
                process.kill()
                holder.await_end(KILL_PATIENCE_S)
    except psutil.AccessDenied as error:
        raise StackError(f"the stack runs as another user (pid {holder.pid}): stop it as that user") from error
    return True
