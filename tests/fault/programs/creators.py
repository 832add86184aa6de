"""Many processes that meet a fresh server at once: ``creators COUNT``; each creates the streams and tells the epoch."""

from __future__ import annotations

import asyncio
import os
import sys

from tests.fault.programs.speech import tell
from tracecraft_core import settings, topology
from tracecraft_core.bus import Bus


async def create(gate: int) -> None:
    """Connect, wait for the word, create."""
    async with Bus(settings.load().server_options()) as bus:
        tell("ready")
        os.read(gate, 1)
        drifts = await topology.ensure(bus)
        tell("created", epoch=await topology.epoch(bus), drifts=[str(drift) for drift in drifts])


def main() -> None:
    """Fork them, and open the gate when a line comes on stdin."""
    reader, writer = os.pipe()
    for _ in range(int(sys.argv[1])):
        if os.fork() == 0:
            os.close(writer)
            asyncio.run(create(reader))
            os._exit(0)
    sys.stdin.readline()
    os.close(writer)
    for _ in range(int(sys.argv[1])):
        os.wait()


if __name__ == "__main__":
    main()
