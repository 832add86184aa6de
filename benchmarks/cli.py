"""Wall time of one command, ours against tracecraft-ai 0.2.5 on the same stack (target: at most 0.45 of it)."""

from __future__ import annotations

import itertools
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.peer import OUR_COMMAND, Peer, ours
from benchmarks.report import paired, ratio, timed
from tracecraft_stack import Stack, StackOptions

if TYPE_CHECKING:
    from collections.abc import Callable

RUNS = 15


def main(_: list[str]) -> None:
    """Time each command pair by pair."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Stack(StackOptions(data=folder / "stack", bridge=False, postgres=False, fsync=False)) as stack:
            (folder / "peer").mkdir()
            peer = Peer(stack.state, folder / "peer")
            environment = ours(stack.state, folder)

            def our(*arguments: str) -> None:
                subprocess.run([OUR_COMMAND, *arguments], cwd=folder, env=environment, check=True, capture_output=True)

            print(f"{'command':<16} {'ours':>9} {'peer':>9} {'ratio':>6}   medians of {RUNS} pairs, whole processes")
            for label, command in COMMANDS.items():
                mine, theirs = paired(_numbered(our, command), _numbered(peer.run, command), RUNS)
                row = f"{statistics.median(mine) * 1000:6.0f} ms {statistics.median(theirs) * 1000:6.0f} ms"
                print(f"{label:<16} {row} {ratio(mine, theirs):6.2f}", flush=True)
            alone = timed(lambda: our("--help"), RUNS)
            print(f"{'--help':<16} {statistics.median(alone) * 1000:6.0f} ms   target 80 ms")


def _numbered(run: Callable[..., None], command: Callable[[int], tuple[str, ...]]) -> Callable[[], None]:
    """Each call runs the command with the next number, so that no two claim the same task."""
    count = itertools.count()
    return lambda: run(*command(next(count)))


COMMANDS: dict[str, Callable[[int], tuple[str, ...]]] = {
    "memory set": lambda n: ("memory", "set", "bench.key", f"value {n}"),
    "memory get": lambda _: ("memory", "get", "bench.key"),
    "memory list": lambda _: ("memory", "list"),
    "send": lambda n: ("send", "somebody", f"hello {n}"),
    "inbox": lambda _: ("inbox",),
    "claim": lambda n: ("claim", f"step{n}"),
    "agents": lambda _: ("agents",),
}
"""Commands that both have, spelled the same."""
