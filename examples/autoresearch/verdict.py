"""What must be true of a search that is over, asked of the bridge."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import tracecraft

if TYPE_CHECKING:
    from tracecraft_core.queries import RunRow


def check(session: tracecraft.Session, trials: int, best: dict[str, Any]) -> list[tuple[bool, str]]:
    """Each fact with whether it holds."""
    runs = session.runs.list(limit=10 * trials)
    return [
        _tried_once(runs, trials),
        _reasons(runs),
        _costs(runs),
        _complete(session, runs),
        _files(session, runs),
        *(_best(runs, dataset, found) for dataset, found in best.items()),
        _asked_again(session, runs),
    ]


def _tried_once(runs: list[RunRow], trials: int) -> tuple[bool, str]:
    ideas = Counter(row.tags["idea"] for row in runs)
    twice = [idea for idea, count in ideas.items() if count > 1]
    return len(runs) == trials and not twice, f"{len(runs)} runs, {len(ideas)} ideas, none tried twice"


def _reasons(runs: list[RunRow]) -> tuple[bool, str]:
    failed = [row for row in runs if row.status == "failed"]
    others = [row.run for row in runs if row.status not in ("finished", "failed")]
    good = bool(failed) and all(row.reason for row in failed) and not others
    return good, f"{len(failed)} ideas failed, each run says why"


def _costs(runs: list[RunRow]) -> tuple[bool, str]:
    total = sum(row.cost or 0 for row in runs)
    return all(row.cost for row in runs), f"every run has a cost; the search cost {total:.5f} USD of computing"


def _complete(session: tracecraft.Session, runs: list[RunRow]) -> tuple[bool, str]:
    broken = [row.run for row in runs if not session.runs.verify(row.run).complete]
    return not broken, f"nothing is missing and nothing is there twice in {len(runs)} runs" + _named(broken)


def _files(session: tracecraft.Session, runs: list[RunRow]) -> tuple[bool, str]:
    wanted = {"model.joblib", "confusion.png"}
    finished = [row.run for row in runs if row.status == "finished"]
    without = [run for run in finished if not wanted <= {file.name for file in session.runs.get(run).artifacts}]
    return not without, f"all {len(finished)} finished runs have their model and their confusion matrix" + _named(
        without
    )


def _best(runs: list[RunRow], dataset: str, found: Any) -> tuple[bool, str]:
    scores = {
        row.run: row.metrics["score"] for row in runs if row.tags["dataset"] == dataset and row.status == "finished"
    }
    good = found is not None and found["score"] == max(scores.values()) == scores[found["run"]]
    return good, f"the pointer to the best on {dataset} is the best of {len(scores)}: {found and found['score']:.4f}"


def _asked_again(session: tracecraft.Session, runs: list[RunRow]) -> tuple[bool, str]:
    avoided = session.memory.get("trials.already_tried", 0)
    try:
        with session.claim(f"idea.{runs[0].tags['idea']}"):
            return False, "an idea that was tried could be claimed again"
    except tracecraft.TaskSettled:
        return True, f"an idea that was tried is refused to whoever has it again; that happened {avoided} times"


def _named(runs: list[str]) -> str:
    return f", but not: {', '.join(runs[:5])}" if runs else ""
