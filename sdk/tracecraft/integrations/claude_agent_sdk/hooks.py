"""`tracecraft_hooks`: the hooks that record what Claude's agents do, for ``ClaudeAgentOptions(hooks=…)``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from claude_agent_sdk import HookMatcher

from tracecraft.integrations.claude_agent_sdk.follower import FOLLOWERS
from tracecraft.integrations.guard import guarded
from tracecraft.recording.run import current_run
from tracecraft.session import settings_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracecraft.session import Session

EVENTS: Final = (
    "UserPromptSubmit",
    "PreToolUse",
    "PostToolUse",
    "PostToolUseFailure",
    "SubagentStart",
    "SubagentStop",
    "PreCompact",
    "Stop",
)
"""What wakes the follower; `SessionStart` and `SessionEnd` do not come through the SDK."""


def tracecraft_hooks(
    extra: Mapping[str, Sequence[HookMatcher]] | None = None,
    *,
    session: Session | None = None,
    agent: str | None = None,
) -> dict[Any, list[HookMatcher]]:
    """Hooks for ``ClaudeAgentOptions(hooks=tracecraft_hooks())``; given twice they record once.

    ``extra`` are hooks of yours, by event, which are called too. ``session`` is whose runs they are (default: those of
    `tracecraft.init`, else of the environment), ``agent`` the agent's name on the bus (default: the session's).
    """

    async def heard(told: Any, tool_use_id: str | None, context: Any) -> dict[str, Any]:
        _hear(told, session, agent)
        return {}

    found: dict[Any, list[HookMatcher]] = {event: [HookMatcher(hooks=[heard])] for event in EVENTS}
    for event, matchers in (extra or {}).items():
        found[event] = [*found.get(event, []), *matchers]
    return found


@guarded
def _hear(told: Mapping[str, Any], session: Session | None, agent: str | None) -> None:
    chosen = settings_of(session)
    around = current_run()
    follower = FOLLOWERS.follow(
        chosen,
        told["session_id"],
        Path(told["transcript_path"]),
        agent=agent or chosen.agent,
        inside=None if around is None else around.id,
    )
    follower.poke()
    if told["hook_event_name"] == "Stop":
        follower.stop("finished")
