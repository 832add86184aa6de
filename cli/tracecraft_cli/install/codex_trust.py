"""Whether the person has trusted our hooks in Codex: asked of `codex app-server`, for a few seconds at most, on a copy.

It answers JSON-RPC, one message a line; `hooks/list` tells of each hook whether it is trusted.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
from typing import TYPE_CHECKING, Any, Final

from tracecraft_cli.install import codex, copied

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE_S: Final = 5.0
"""Seconds for the whole conversation, which takes a fifth of one."""

_READ: Final = ("config.toml", f"plugins/cache/{codex.MARKETPLACE}")
"""What Codex reads of its folder to know our hooks, and whether they are trusted."""


def of_hooks(program: str, folder: Path) -> list[str] | None:
    """``trusted``, ``untrusted``, … of each hook of ours that is on; ``None`` when Codex does not tell."""
    with copied.folder(codex.home(), _READ) as home:
        try:
            process = subprocess.Popen(
                [program, "app-server"],
                env={**os.environ, "CODEX_HOME": str(home)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError:
            return None
        with process:
            limit = threading.Timer(PATIENCE_S, _end, [process])
            limit.start()
            try:
                return _statuses(_converse(process, folder))
            except (OSError, ValueError):
                return None
            finally:
                limit.cancel()
                _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """End it with all that it has started: it looks for news of plugins, which nobody asked for."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _converse(process: subprocess.Popen[str], folder: Path) -> Any:
    """What it answers to ``hooks/list``; ``None`` when it says no more."""
    who = {"clientInfo": {"name": "tracecraft", "version": "1"}}
    _say(process, {"id": 1, "method": "initialize", "params": who})
    if _answer(process, 1) is None:
        return None
    _say(process, {"method": "initialized"})
    _say(process, {"id": 2, "method": "hooks/list", "params": {"cwds": [str(folder)]}})
    return _answer(process, 2)


def _say(process: subprocess.Popen[str], message: dict[str, Any]) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    process.stdin.flush()


def _answer(process: subprocess.Popen[str], id_: int) -> Any:
    assert process.stdout is not None
    for line in process.stdout:  # ends when the process is killed
        message = json.loads(line)
        if isinstance(message, dict) and message.get("id") == id_:
            return message.get("result")
    return None


def _statuses(result: Any) -> list[str] | None:
    folders = result.get("data") if isinstance(result, dict) else None
    if not isinstance(folders, list):
        return None
    hooks = [hook for one in folders if isinstance(one, dict) for hook in one.get("hooks", [])]
    return [
        str(hook.get("trustStatus")) for hook in hooks if hook.get("pluginId") == codex.PLUGIN and hook.get("enabled")
    ]
