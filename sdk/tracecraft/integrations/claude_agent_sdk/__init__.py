"""Claude Agent SDK: ``ClaudeAgentOptions(hooks=tracecraft_hooks(), session_store=TracecraftSessionStore())``."""

from tracecraft.integrations.claude_agent_sdk.store import TracecraftSessionStore

__all__ = ["TracecraftSessionStore"]
