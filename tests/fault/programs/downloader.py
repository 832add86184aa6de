"""Fetches a file from the artifact store: ``downloader SHA256 PATH [LIMIT]``; LIMIT: most bytes of a file."""

from __future__ import annotations

import asyncio
import resource
import sys
from pathlib import Path

from tests.fault.programs.speech import facts_of, tell
from tracecraft import AsyncSession, artifacts
from tracecraft_core.errors import TracecraftError
from tracecraft_core.queries import GetQuestion


async def main() -> None:
    """Fetch it."""
    sha256, path = sys.argv[1], Path(sys.argv[2])
    if len(sys.argv) > 3:
        limit = int(sys.argv[3])
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    async with AsyncSession() as session:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            await artifacts.get_file(session.context, GetQuestion(sha256=sha256), path)
        except TracecraftError as error:
            tell("failed", **facts_of(error))
        else:
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            tell("fetched", grown=grown * 1024)


if __name__ == "__main__":
    asyncio.run(main())
