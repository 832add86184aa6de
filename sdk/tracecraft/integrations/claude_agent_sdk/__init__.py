"""Claude Agent SDK: ``ClaudeAgentOptions(hooks=tracecraft_hooks(), session_store=TracecraftSessionStore())``.

`Agent` is a small wrapper of ours around a query: the SDK has no class of that name.
"""

from tracecraft.integrations.closing import flush
from tracecraft.integrations.extras import needs

with needs("claude"):
    from tracecraft.integrations.claude_agent_sdk.agent import Agent, Answer
    from tracecraft.integrations.claude_agent_sdk.hooks import tracecraft_hooks
    from tracecraft.integrations.claude_agent_sdk.store import TracecraftSessionStore
    from tracecraft.integrations.claude_agent_sdk.toolserver import tools

__all__ = ["Agent", "Answer", "TracecraftSessionStore", "flush", "tools", "tracecraft_hooks"]
