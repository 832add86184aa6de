"""`Agent`: tracecraft's own small wrapper around a query of the Claude Agent SDK, which has no such class."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from claude_agent_sdk import ClaudeAgentOptions, ResultMessage, query

from tracecraft.integrations.claude_agent_sdk.follower import FOLLOWERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from claude_agent_sdk import HookMatcher


@dataclass(frozen=True, slots=True)
class Answer:
    """What a prompt came to."""

    text: str
    session: str
    """Id of the session; ``Agent(…).run(prompt, resume=answer.session)`` goes on with it."""
    turns: int
    cost: float | None
    """US dollars, as the SDK says; ``None`` where it does not know."""
    failed: bool
    message: ResultMessage
    """The SDK's own words, with tokens by model."""


class Agent:
    """A Claude agent: ``Agent(model="claude-sonnet-4-5", hooks=tracecraft_hooks())``. The SDK itself has no `Agent`.

    Everything else that `ClaudeAgentOptions` takes is taken here by name, or whole as ``options``.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        hooks: Mapping[Any, Sequence[HookMatcher]] | None = None,
        options: ClaudeAgentOptions | None = None,
        **more: Any,
    ) -> None:
        given = {**more}
        if model is not None:
            given["model"] = model
        if hooks is not None:
            given["hooks"] = {event: list(matchers) for event, matchers in hooks.items()}
        self.options = replace(options or ClaudeAgentOptions(), **given)

    async def run(self, prompt: str, *, resume: str | None = None) -> Answer:
        """Let it work on a prompt until it has an answer. Raises what the SDK raises; then the run has failed."""
        options = self.options if resume is None else replace(self.options, resume=resume)
        result: ResultMessage | None = None
        try:
            async for message in query(prompt=prompt, options=options):
                if isinstance(message, ResultMessage):
                    result = message
        except BaseException as error:
            FOLLOWERS.end_all("failed" if isinstance(error, Exception) else "killed")
            raise
        if result is None:
            FOLLOWERS.end_all("failed")
            raise RuntimeError("the Claude Agent SDK ended without a result")
        return _answer(result)

    def run_sync(self, prompt: str, *, resume: str | None = None) -> Answer:
        """`run`, for code without an event loop."""
        return asyncio.run(self.run(prompt, resume=resume))


def _answer(result: ResultMessage) -> Answer:
    return Answer(
        text=result.result or "",
        session=result.session_id,
        turns=result.num_turns,
        cost=result.total_cost_usd,
        failed=result.is_error,
        message=result,
    )
