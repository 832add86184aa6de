"""The task state machine, as pure functions: whatever two holders do, only the one who has the task changes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracecraft_core import tasks
from tracecraft_core.bodies import Handoff, TaskRecord
from tracecraft_core.errors import BodyTooLarge, ClaimLost, TaskNotReady, TaskSettled, UsageError
from tracecraft_core.tasks import Holder

ALICE, BOB = Holder("alice", "s1"), Holder("bob", "s2")
ALICE_AGAIN = Holder("alice", "s3")
"""The same name in another session is somebody else."""

Verb = Literal["claim", "settle", "release", "lapse", "force"]


@dataclass
class World:
    """What the buckets would hold: a record, who is alive, and by the model who has the task."""

    record: TaskRecord | None = None
    lease: Holder | None = None
    revision: int = 0
    owner: Holder | None = None

    def write(self, record: TaskRecord) -> None:
        self.record, self.revision = record, self.revision + 1


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("claim", "settle", "release", "lapse", "force")),
            st.sampled_from((ALICE, BOB, ALICE_AGAIN)),
            st.sampled_from(("done", "failed", "blocked", "needs_review")),
        ),
        max_size=40,
    )
)
def test_nobody_but_the_holder_settles_or_releases_whatever_the_order(
    steps: list[tuple[Verb, Holder, Literal["done", "failed", "blocked", "needs_review"]]],
) -> None:
    world = World()
    for verb, who, state in steps:
        before = world.record
        if verb == "lapse":
            world.lease = None
        elif verb == "claim":
            claim(world, who)
        elif world.record is None:
            continue
        elif verb == "force":
            world.write(tasks.settled("T", world.record, who, state, Handoff(), force="because"))
            assert world.record.forced is None if world.owner == who else world.record.forced is not None
            world.owner = world.lease = None
        elif world.owner == who:
            if verb == "settle":
                world.write(tasks.settled("T", world.record, who, state, Handoff(note="n")))
            else:
                world.write(tasks.released("T", world.record, who))
            world.owner = world.lease = None
        else:
            with pytest.raises(ClaimLost) as lost:
                change(world.record, who, verb, state)
            assert lost.value.owner == (world.record.owner if world.record.state != "open" else None)
            assert world.record is before
        check(world)


def claim(world: World, who: Holder) -> None:
    """As `tracecraft.claims` does it: a live lease of another refuses, a done task refuses."""
    if world.lease is not None:
        return
    if world.record is not None and world.record.state == "done":
        with pytest.raises(TaskSettled):
            tasks.check_claimable("T", world.record, {})
        return
    tasks.check_claimable("T", world.record, {})
    before = world.record
    world.write(tasks.claimed(before, who, f"n{world.revision}", world.revision))
    assert world.record is not None
    assert world.record.attempt == (before.attempt if before else 0) + 1
    lapsed = world.record.took_over_from
    assert (lapsed is not None) == (world.owner is not None)
    if lapsed is not None and world.owner is not None:
        assert (lapsed.owner, lapsed.session) == (world.owner.agent, world.owner.session)
    world.owner = world.lease = who


def change(
    record: TaskRecord, who: Holder, verb: Verb, state: Literal["done", "failed", "blocked", "needs_review"]
) -> None:
    if verb == "settle":
        tasks.settled("T", record, who, state, Handoff())
    else:
        tasks.released("T", record, who)


def check(world: World) -> None:
    if world.record is None:
        return
    holders = [who for who in (ALICE, BOB, ALICE_AGAIN) if who.holds(world.record)]
    assert holders == ([world.owner] if world.owner else [])
    assert (world.record.nonce is not None) == (world.record.state == "claimed")


def test_a_claim_keeps_the_definition_and_the_last_handoff_and_forgets_the_force() -> None:
    record = TaskRecord(title="t", after=["A"], data=1, state="failed", handoff=Handoff(note="n"), created_by="boss")
    claimed = tasks.claimed(record, ALICE, "nonce", 7)
    assert (claimed.title, claimed.after, claimed.data, claimed.created_by) == ("t", ["A"], 1, "boss")
    assert claimed.handoff == Handoff(note="n")
    assert claimed.took_over_from is None


def test_a_release_without_a_note_keeps_the_note_of_before() -> None:
    claimed = tasks.claimed(TaskRecord(handoff=Handoff(note="old")), ALICE, "nonce", 1)
    assert tasks.released("T", claimed, ALICE).handoff == Handoff(note="old")
    assert tasks.released("T", claimed, ALICE, Handoff(note="new")).handoff == Handoff(note="new")


def test_dependencies_must_be_done_not_merely_settled() -> None:
    record = TaskRecord(after=["A", "B", "C"])
    with pytest.raises(TaskNotReady) as refused:
        tasks.check_claimable("T", record, {"A": "done", "B": "failed"})
    assert refused.value.missing == ("B", "C")
    tasks.check_claimable("T", record, {"A": "done", "B": "done", "C": "done"})


def test_only_an_open_task_is_redefined() -> None:
    record = TaskRecord(title="a")
    assert tasks.redefined("T", record, "b", ["A"], 1) == TaskRecord(title="b", after=["A"], data=1)
    with pytest.raises(UsageError, match="T is claimed"):
        tasks.redefined("T", tasks.claimed(record, ALICE, "n", 1), "b", [], None)


def test_a_dependency_that_cannot_get_done_is_told_apart_from_one_that_is_not_done_yet() -> None:
    record = TaskRecord(after=["f.a", "p.typo", "x"])
    with pytest.raises(
        TaskNotReady, match=r"T waits for others: f\.a failed, p\.typo is unknown, x is not done yet"
    ) as no:
        tasks.check_claimable("T", record, {"f.a": "failed", "x": "claimed"})
    assert no.value.missing == ("f.a", "p.typo", "x")
    with pytest.raises(TaskNotReady, match="T waits for x: not done yet"):
        tasks.check_claimable("T", TaskRecord(after=["x"]), {"x": "open"})


def test_the_largest_definition_leaves_room_for_claims_and_a_handoff() -> None:
    data = "x" * (tasks.MAX_DEFINITION_BYTES - 20)
    tasks.check_definition("T", None, [], data)
    with pytest.raises(BodyTooLarge, match="the definition of T"):
        tasks.check_definition("T", None, [], data + "x" * 20)
    claimed = tasks.claimed(TaskRecord(data=data), ALICE, "nonce", 1)
    tasks.check_claim_fits("T", tasks.claimed(claimed, BOB, "nonce", 2))
    tasks.settled("T", claimed, ALICE, "failed", Handoff(note="y" * 30_000))


def test_a_handoff_that_does_not_fit_is_refused_with_its_part_and_the_room_there_is() -> None:
    claimed = tasks.claimed(TaskRecord(data="x" * 200_000), ALICE, "nonce", 1)
    handoff = Handoff(note="short", result="y" * 100_000)
    with pytest.raises(BodyTooLarge, match=r"the handoff of T \(mostly its result\)") as refused:
        tasks.settled("T", claimed, ALICE, "failed", handoff)
    with pytest.raises(BodyTooLarge, match=r"the handoff of T \(mostly its result\)"):
        tasks.released("T", claimed, ALICE, handoff)
    fits = Handoff(note="short", result="y" * (refused.value.limit - 40))
    again = tasks.settled("T", claimed, ALICE, "failed", fits)
    tasks.check_claim_fits("T", tasks.claimed(again, BOB, "nonce", 2))
