"""Why a tool failed: of tracecraft's own tools with the code of the refusal, as their other recordings have it."""

from __future__ import annotations

from typing import Final

import msgspec

OURS: Final = "mcp__tracecraft__"
"""Before the names of our tools in the Claude Agent SDK (`integrations.claude_agent_sdk.tools`)."""


class _Problem(msgspec.Struct, frozen=True):
    code: str
    message: str


class _Answer(msgspec.Struct, frozen=True):
    """What our tools answer there when they refuse."""

    error: _Problem


def told(tool: str, error: str) -> tuple[str, str]:
    """The type of a tool's failure, and its message; of any other tool than ours nothing is read out of the words."""
    if tool.startswith(OURS):
        try:
            problem = msgspec.json.decode(error, type=_Answer).error
        except msgspec.DecodeError:
            return "ToolError", error
        return problem.code, problem.message
    return "ToolError", error
