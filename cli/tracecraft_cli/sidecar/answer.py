"""What a hook prints: the JSON that Claude Code and Codex understand alike, as values in and text out."""

from __future__ import annotations

import json
from typing import Final

NOTHING: Final = "{}"
"""Go on as if we were not there."""

CONTEXT_EVENTS: Final = frozenset({"SessionStart", "UserPromptSubmit", "PostToolUse"})
"""Events whose answer can add to what the model reads."""

_RESULTS: Final = {("claude", "PostToolUse")}
"""Where additional context stands in the result of the tool. Elsewhere it stands among the words of the user (Claude
Code at a prompt) or of the developer (Codex everywhere), which are no place for a peer's."""


def holds_others_words(kind: str, event: str) -> bool:
    """Whether the additional context of this event may hold what other agents wrote."""
    return (kind, event) in _RESULTS


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
