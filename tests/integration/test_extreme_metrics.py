"""Metrics at the ends of what a float can be: every question about them is answered, and the answers agree."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.integration.test_queries import Asker
from tracecraft_core import ids
from tracecraft_core.bus import Bus
from tracecraft_core.transport import ServerOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracecraft_stack import Stack

EXTREMES = [5e-324, -5e-324, 2.3e-308, 1e308, 1.7e308, -1.7e308, -0.0, 0.0, 0.5, "NaN", "Infinity", "-Infinity"]


class Waiting:
    """An asker whose answers are waited for, for a test that is no coroutine."""

    def __init__(self, runner: asyncio.Runner, asker: Asker) -> None:
        self._runner, self._asker = runner, asker

    def start(self, run: str, key: str, values: list[Any], *, apart: bool) -> None:
        async def work() -> None:
            await self._asker.start(run)
            size = 1 if apart else 6_000
            for first in range(0, len(values), size):
                await self._asker.points(run, key, values[first : first + size], first)

        self._runner.run(work())

    def ask(self, verb: str, **question: Any) -> Any:
        return self._runner.run(self._asker.ask(verb, **question))


@pytest.fixture
def waiting(stack: Stack, project: str) -> Iterator[Waiting]:
    assert stack.state.nats_url
    bus = Bus(ServerOptions(servers=(stack.state.nats_url,)))
    with asyncio.Runner() as runner:
        runner.run(bus.connect())
        yield Waiting(runner, Asker(bus, project))
        runner.run(bus.close())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(EXTREMES), min_size=1, max_size=9), st.booleans())
@example([5e-324, 5e-324, 5e-324, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], True)
@example([1.7e308, 1.7e308, 1.7e308, 1.7e308], False)
def test_the_mean_of_any_floats_is_answered(waiting: Waiting, values: list[Any], apart: bool) -> None:
    run = ids.run()
    waiting.start(run, "odd", values, apart=apart)
    finite = [value for value in values if isinstance(value, float)]
    whole = next(one for one in waiting.ask("runs.get", run=run).metrics if not one.agent)
    for points in (2, 3, 100):
        (curve,) = waiting.ask("runs.plot", run=run, keys=["odd"], points=points).curves
        for low, mean, high in zip(curve.min, curve.mean, curve.max, strict=True):
            numbers = [float(number) for number in (low, mean, high)]
            assert sorted(numbers) == numbers or any(map(math.isnan, numbers))
    found = "metrics.odd.mean is null"
    if finite:
        assert min(finite) <= whole.mean <= max(finite)
        found = f"metrics.odd.mean = {whole.mean!r} and metrics.odd.mean <= {max(finite)!r}"
        assert not waiting.ask("runs.list", filter=f'run = "{run}" and metrics.odd.mean > {max(finite)!r}').runs
    else:
        assert whole.mean is None
    assert [row.run for row in waiting.ask("runs.list", filter=f'run = "{run}" and {found}').runs] == [run]
    by_mean = waiting.ask("runs.list", filter=f'run = "{run}"', sort="-metrics.odd.mean")
    assert [row.run for row in by_mean.runs] == [run]


def test_a_long_curve_of_numbers_as_large_as_can_be_has_means(waiting: Waiting) -> None:
    run = ids.run()
    waiting.start(run, "huge", [1.7e308] * 24_000, apart=False)
    (curve,) = waiting.ask("runs.plot", run=run, keys=["huge"], points=10).curves
    assert curve.min == curve.mean == curve.max == [1.7e308] * len(curve.steps)
