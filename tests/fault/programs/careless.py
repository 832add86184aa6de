"""Agents that are careless about their session: ``careless forget|forget-async|fork|threads``."""

from __future__ import annotations

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor

from tests.fault.programs.speech import facts_of, tell
from tracecraft import AsyncSession, Session, UsageError, connect


def forget() -> None:
    """End without closing, with a claim in hand."""
    session = Session()
    session.memory.set("key", "acknowledged")
    session.claim("T", lease=1).__enter__()
    tell("ending")


async def forget_async() -> None:
    """The same in a loop of one's own."""
    session = await AsyncSession().open()
    await session.memory.set("key", "acknowledged")
    await session.claim("T", lease=1).__aenter__()
    tell("ending")


def fork() -> None:
    """Use the session of the parent in a forked child, then another one, while the parent goes on with its own."""
    with Session() as session:
        session.memory.set("parent", 1)
        child = os.fork()
        if child == 0:
            for verb in (lambda: session.memory.get("parent"), session.open, session.close):
                try:
                    verb()
                    tell("child", error=None)
                except UsageError as error:
                    tell("child", **facts_of(error))
            with connect(agent="child") as own:
                tell("child", value=own.memory.incr("parent"))
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(child, 0)
        tell("parent", value=session.memory.incr("parent"))


def threads() -> None:
    """One session, sixteen threads."""
    with Session() as session, ThreadPoolExecutor(16) as pool:
        tell("sums", values=sorted(pool.map(lambda _: session.memory.incr("n"), range(100))))

        def work(number: int) -> bool:
            with session.claim(f"T{number}") as claim:
                session.send(session.agent, claim.task)
                return bool(session.memory.get("n") == 100)

        tell("worked", all=all(pool.map(work, range(32))))
        tell("mail", count=len(session.inbox()))


def main() -> None:
    """Do the one thing that was asked for."""
    kind = sys.argv[1]
    if kind == "forget-async":
        asyncio.run(forget_async())
    else:
        {"forget": forget, "fork": fork, "threads": threads}[kind]()


if __name__ == "__main__":
    main()
