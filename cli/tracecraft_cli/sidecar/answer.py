"""What a hook prints: the JSON that Claude Code and Codex understand alike, as values in and text out.

Whose words the additional context of a hook becomes, the coding agent decides, and with Claude Code its model: the
user's, the developer's, the system's (docs/decisions/0010-hooks-announce.md). So nothing that a peer wrote goes through
here.
"""

from __future__ import annotations

import json
from typing import Final

NOTHING: Final = "{}"
"""Go on as if we were not there."""

CONTEXT_EVENTS: Final = frozenset({"SessionStart", "UserPromptSubmit", "PostToolUse"})
"""Events whose answer can add to what the model reads."""


def context(event: str, parts: list[str]) -> str:
    """Additional context for the model; nothing when there is none."""
    words = "\n\n".join(part for part in parts if part)
    if not words or event not in CONTEXT_EVENTS:
        return NOTHING
    return json.dumps({"hookSpecificOutput": {"hookEventName": event, "additionalContext": words}})


def deny(reason: str) -> str:
    """Do not run this tool."""
    said = {"hookEventName": "PreToolUse", "permissionDecision": "deny", "permissionDecisionReason": reason}
    return json.dumps({"hookSpecificOutput": said})


def go_on(reason: str) -> str:
    """Do not stop yet."""
    return json.dumps({"decision": "block", "reason": reason}) if reason else NOTHING
