"""Hermes Agent: ``hermes plugins enable tracecraft``.

A plugin that Hermes finds by its entry point. It records sessions (`narration`), gives the agents tracecraft's tools,
and hands mail of other agents over with the results of tools (`post`). Hermes calls `register` in every process that
loads plugins; nothing is connected before a turn begins.
"""

from tracecraft.integrations.hermes.plugin import register

__all__ = ["register"]
