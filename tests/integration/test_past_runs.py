"""Questions of the SDK to the bridge whose answers come in pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracecraft import Session

if TYPE_CHECKING:
    from tracecraft_stack import Stack


def test_a_state_that_is_larger_than_an_answer_is_whole(stack: Stack, project: str) -> None:
    with Session(server=stack.state.nats_url, project=project, agent="a") as session:
        for number in range(8):
            session.memory.set(f"k{number}", "x" * 200_000)
        newest = session.runs.state(time="2999-01-01T00:00:00Z")
    assert sorted(newest.memory) == [f"k{number}" for number in range(8)]
