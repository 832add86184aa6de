"""The planner: one task a package, and a report that depends on all of them."""

from __future__ import annotations

from analyse import packages

import tracecraft
from tracecraft_core.plans import PlannedTask


def main() -> None:
    """Write the plan. Doing it twice changes nothing."""
    names = packages()
    surveys = [PlannedTask(id=f"survey.{name}", title=f"analyse {name}", data={"package": name}) for name in names]
    report = PlannedTask(id="report", title="write the report", after=tuple(task.id for task in surveys))
    with tracecraft.connect(agent="planner") as session:
        applied = session.tasks.apply([*surveys, report])
        session.memory.set("survey.packages", names)
        session.broadcast(f"the plan is there: {len(surveys)} packages and a report")
    print(f"planned {len(applied.created)} tasks")


if __name__ == "__main__":
    main()
