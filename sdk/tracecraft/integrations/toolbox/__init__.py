"""The toolbox: tracecraft's verbs of coordination as tools for models, the same for every framework and for MCP.

    box = Toolbox(agent="researcher")
    await box.call("claim", {"pattern": "S1.*"})

`TOOLS` describes them (names, words, JSON schemas), `Toolbox` carries them out as one agent, and a `ToolProblem` says
what a model can do about a refusal.
"""

from tracecraft.integrations.toolbox.catalog import PROTOCOL, TOOLS
from tracecraft.integrations.toolbox.problem import ToolProblem
from tracecraft.integrations.toolbox.tool import Tool
from tracecraft.integrations.toolbox.toolbox import Toolbox, as_text

__all__ = ["PROTOCOL", "TOOLS", "Tool", "ToolProblem", "Toolbox", "as_text"]
