"""The run of a bundle in a few numbers, gathered while its entries go by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracecraft_core import run_events
from tracecraft_core.bundle.layout import Summary
from tracecraft_core.queries import Tokens

if TYPE_CHECKING:
    from tracecraft_core.facts import Fact

COUNTED = frozenset({"original", "retry"})


class Recap:
    """Takes facts in the order of the log; of runs inside of the run only steps, points, tokens and files count."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._said: dict[str, Any] = {}
        self._steps = self._errors = self._points = 0
        self._tokens = dict.fromkeys(Tokens.__struct_fields__, 0)
        self._cost: float | None = None
        self._calls: set[str] = set()
        self._params: dict[str, Any] = {}
        self._tags: dict[str, str] = {}
        self._metrics: dict[str, Any] = {}
        self._artifacts: dict[str, str] = {}

    def take(self, fact: Fact, points: int) -> None:
        """Add what an entry says; ``points`` is how many it has."""
        self._points += points
        match fact.body:
            case run_events.StepEnded() as body:
                self._steps += 1
                self._errors += body.status == "error"
            case run_events.Usage() as body:
                self._usage(body)
            case run_events.Artifact() as body:
                name = body.name if fact.run == self._run else f"{fact.run}:{body.name}"
                self._artifacts[name] = body.sha256
            case _ if fact.family == "run" and fact.run == self._run:
                self._own(fact)

    def done(self) -> Summary:
        """The summary."""
        return Summary(
            **self._said,
            steps=self._steps,
            errors=self._errors,
            points=self._points,
            tokens=Tokens(**self._tokens),
            reported_cost=self._cost,
            params=self._params,
            tags=self._tags,
            metrics=self._metrics,
            artifacts=self._artifacts,
        )

    def _own(self, fact: Fact) -> None:
        match fact.body:
            case run_events.RunStarted() as body:
                self._started(fact, body)
            case run_events.RunEnded() as body:
                reason = f"{body.error.type}: {body.error.message}" if body.error else None
                self._said |= {"status": body.status, "ended": fact.entry.time, "reason": reason}
            case run_events.RunCrashed() as body if self._said.get("status", "running") == "running":
                self._said |= {"status": "crashed", "ended": fact.entry.time, "reason": body.reason}
            case run_events.Params() as body:
                self._params |= body.params
            case run_events.Tags() as body:
                self._tags |= body.tags
            case run_events.Metric() as body:
                self._metrics |= {point[0]: point[1] for point in body.points}

    def _started(self, fact: Fact, body: run_events.RunStarted) -> None:
        if "started" in self._said:
            return
        self._said |= {
            "name": body.name,
            "agent": fact.tokens[1],
            "purpose": body.purpose,
            "parent": body.parent,
            "forked_from": body.forked_from,
            "started": fact.entry.time,
        }
        self._params |= body.params
        self._tags |= body.tags

    def _usage(self, body: run_events.Usage) -> None:
        if body.cause not in COUNTED or (body.request is not None and body.request in self._calls):
            return
        if body.request is not None:
            self._calls.add(body.request)
        for name in self._tokens:
            self._tokens[name] += getattr(body, name)
        if body.cost is not None and body.currency == "USD":
            self._cost = (self._cost or 0.0) + body.cost
