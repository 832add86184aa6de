"""AutoGen 0.7 (AgentChat): ``async for message in trace(team.run_stream(task=…))``, or ``await run(team, task=…)``.

AutoGen has no callbacks: what a team does comes out of its stream, and what its model clients did is in AutoGen's own
structured log. `trace` reads both and passes every message on as it is.
"""

from tracecraft.integrations.closing import flush
from tracecraft.integrations.extras import needs

with needs("autogen"):
    from tracecraft.integrations.autogen.autogen_tools import tools
    from tracecraft.integrations.autogen.stream import run, trace

__all__ = ["flush", "run", "tools", "trace"]
