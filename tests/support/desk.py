"""A desk from which transcripts of coding agents are mirrored, and questions about what became of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tracecraft import AsyncSession
from tracecraft.transcripts.mirror import Mirror
from tracecraft_core import settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.coding_sessions import Home
    from tracecraft_core.queries import StepRow
    from tracecraft_core.settings import Settings
    from tracecraft_stack import Stack


class Desk:
    """A project, a home with transcripts, and questions about what became of them."""

    def __init__(self, session: AsyncSession, home: Home) -> None:
        self.session, self.home = session, home

    @property
    def settings(self) -> Settings:
        """Of its session."""
        return self.session.settings

    async def mirror(self, source: str, path: Path | None = None, session: str | None = None, **more: Any) -> Mirror:
        """Mirror a session to its end."""
        if path is None:
            path, session = self.home.path(source)
        mirror = Mirror(self.settings, source, path, session=session, **more)
        progress = await mirror.end()
        assert progress.waiting == ""
        return mirror

    async def steps(self, run: str) -> list[StepRow]:
        """The steps of a run."""
        return [step async for step in self.session.runs.steps(run)]

    async def assert_sound(self, run: str) -> None:
        """Nothing is missing, and nothing was said twice."""
        verified = await self.session.runs.verify(run)
        assert (verified.problems, [writer.missing for writer in verified.writers if writer.missing]) == ([], [])
        ids = [step.step for step in await self.steps(run)]
        assert len(ids) == len(set(ids))


@pytest.fixture
async def desk(stack: Stack, project: str, coding_home: Home, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    """The desk of this test, on the shared stack, in a home with sessions of all four programs."""
    for name, value in coding_home.environment().items():
        monkeypatch.setenv(name, value)
    resolved = settings.load({"server": stack.state.nats_url, "project": project, "agent": "tester"})
    async with AsyncSession(resolved=resolved, mode="oneshot") as session:
        yield Desk(session, coding_home)
