"""CrewAI: ``Crew(agents=[…], tasks=[…], callbacks=[TracecraftCallback()])``.

`Crew` itself knows no ``callbacks`` and drops the argument without a word. The line works all the same: making a
`TracecraftCallback` registers it on CrewAI's event bus, which is one for the process. So every crew, flow and agent of
the process is recorded from then on, and ``TracecraftCallback()`` anywhere before ``kickoff()`` does the same.
"""

from tracecraft.integrations.closing import flush
from tracecraft.integrations.extras import needs

with needs("crewai"):
    from tracecraft.integrations.crewai.callback import TracecraftCallback
    from tracecraft.integrations.crewai.crew_tools import tools

__all__ = ["TracecraftCallback", "flush", "tools"]
