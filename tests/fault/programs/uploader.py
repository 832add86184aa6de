"""Puts a file into the artifact store: ``uploader PATH [STOP_AT]``; says what came of it, with its peak memory.

With STOP_AT it says ``halfway`` when so many bytes are through, and then stands still until it is killed.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import threading
from pathlib import Path

from tests.fault.programs.speech import facts_of, tell
from tracecraft import AsyncSession, artifacts
from tracecraft_core.errors import TracecraftError


async def main() -> None:
    """Put it."""
    path, stop_at = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None
    first: list[int] = []

    def watch(done: int, total: int) -> None:
        first.append(done)
        if stop_at is not None and done >= stop_at:
            tell("halfway", done=done)
            threading.Event().wait()

    async with AsyncSession() as session:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            stored = await artifacts.put_file(session.context, path, progress=watch)
        except TracecraftError as error:
            tell("failed", **facts_of(error))
        else:
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            tell("stored", sha256=stored.sha256, new=stored.new, began=first[0], grown=grown * 1024)


if __name__ == "__main__":
    asyncio.run(main())
