"""Where two runs part, and how a run is published again."""

from __future__ import annotations

import msgspec

from tests.support.recorded import Recording, a_search
from tracecraft_core import run_events
from tracecraft_core.divergence import first_divergence
from tracecraft_core.rebroadcast import renamed_runs, replay_project, rewritten


def test_runs_that_did_the_same_do_not_part_whatever_their_ids_and_times() -> None:
    a = a_search()
    again = Recording(run="20270101-000000-zzzzzz")
    again.tick(5_000_000_000)
    for entry in a_search().entries:
        body = {**entry.body, "time": 1, "step": "f" * 16} if ".run." in entry.subject else entry.body
        if isinstance(body, dict) and "points" in body:
            body["points"] = [[*point[:3], 7] for point in body["points"]]
        again.put(entry.subject.replace(a.run, again.run), body, entry.headers)
    assert first_divergence(a.entries, again.entries) is None


def test_order_between_agents_is_chance() -> None:
    one, two = Recording(), Recording()
    for tape, agents in ((one, ("a", "b")), (two, ("b", "a"))):
        for agent in agents:
            tape.event(agent, "log", text=agent)
    assert first_divergence(one.entries, two.entries) is None


def test_order_between_what_is_recorded_and_what_is_written_is_chance() -> None:
    """Records pass through a spool; a write of memory goes straight to the bus and may overtake them."""
    one, two = Recording(), Recording()
    for tape, early in ((one, True), (two, False)):
        for write in (early, not early):
            if write:
                tape.put("tc.lab.memory.winner", "svm" if tape is one else "mlp", {"Tc-Agent": "ann"})
            else:
                tape.event("ann", "agent.started")
    found = first_divergence(one.entries, two.entries)
    assert found is not None
    assert (found.what, found.place) == ("ann: memory winner differs in its value: svm, and in the second mlp", 0)
    found = first_divergence(two.entries, one.entries)
    assert found is not None
    assert (found.what, found.place) == ("ann: memory winner differs in its value: mlp, and in the second svm", 1)


def test_first_difference_is_named_with_both_entries() -> None:
    a, b = a_search(), a_search()
    place = next(n for n, entry in enumerate(b.entries) if entry.subject.endswith("step.output"))
    changed = b.entries[place]
    b.entries[place] = type(changed)(
        **{
            **{name: getattr(changed, name) for name in changed.__struct_fields__},
            "body": {**changed.body, "value": {"answer": ["tree"]}},
        }
    )
    found = first_divergence(a.entries, b.entries)
    assert found is not None
    assert (found.agent, found.a, found.b) == ("lead", a.entries[place], b.entries[place])
    assert found.what == (
        'lead: step.output differs in value.answer: ["svm", "forest", "mlp"], and in the second ["tree"]'
    )
    (difference,) = found.differences
    assert (difference.field, difference.b) == ("value.answer", ["tree"])


def failed(message: str, trace: str) -> Recording:
    tape = Recording()
    error = run_events.Failure(type="ValueError", message=message, trace=trace)
    tape.event("ann", "step.ended", step="1" * 16, name="fit", duration=1, status="error", error=error)
    return tape


def test_the_traceback_of_a_failure_does_not_count_and_its_message_does() -> None:
    one, moved = failed("no", "File a.py, line 3"), failed("no", "File /tmp/b.py, line 4")
    assert first_divergence(one.entries, moved.entries) is None
    found = first_divergence(one.entries, failed("never", "").entries)
    assert found is not None
    assert found.what == "ann: step.ended differs in error.message: no, and in the second never"


def test_run_that_goes_on_parts_where_the_other_ends() -> None:
    a, b = a_search(), a_search()
    b.event("ann", "log", text="one more")
    found = first_divergence(a.entries, b.entries)
    assert found is not None
    assert (found.agent, found.a, found.b) == ("ann", None, b.entries[-1])


def test_entry_that_is_published_again_counts_nowhere_and_points_at_the_new_messages() -> None:
    tape = Recording(project="lab")
    tape.event("a", "started", name="x")
    tape.event("a", "usage", input=5, cost=1.0)
    sent = tape.message("a", "b", "hello")
    tape.receipt("b", "a", sent)
    tape.put("tc.lab.memory.k", 3, {"Nats-Stream-Source": "KV_tc_memory 9 a b", "Nats-Msg-Id": "x", "Tc-Agent": "a"})
    out = [rewritten(entry, "lab", {sent: 777}, {}) for entry in tape.entries]
    bodies = [publication.body for publication in out if publication is not None]
    assert b'"purpose":"replay"' in bodies[0]
    assert b'"cause":"replay"' in bodies[1]
    assert b'"id":777' in bodies[3]
    memory = out[4]
    assert memory is not None
    assert memory.subject == "tc.lab-replay.memory.k"
    assert memory.headers == {"Tc-Agent": "a", "Tc-Replay": "lab/50"}
    assert rewritten(tape.entries[0], "another", {}, {}) is None
    assert len(replay_project("p" * 64)) == 64


def test_run_that_is_published_again_has_an_id_of_its_own_everywhere() -> None:
    tape = Recording(project="lab", run="20261118-110640-aaaaaa")
    tape.event("a", "started", name="x")
    tape.put("tc.lab.memory.k", 3, {"Tc-Agent": "a", "Tc-Run": "20261118-110640-aaaaaa/00f067aa0ba902b7"})
    tape.run = "20261118-110640-bbbbbb"
    tape.event("a", "started", name="inner", parent="20261118-110640-aaaaaa")
    again = renamed_runs(tape.entries, "lab")
    assert set(again) == {"20261118-110640-aaaaaa", "20261118-110640-bbbbbb"}
    assert len({*again, *again.values(), *renamed_runs(tape.entries, "lab").values()}) == 6
    first, memory, inner = (rewritten(entry, "lab", {}, again) for entry in tape.entries)
    assert first is not None
    assert memory is not None
    assert inner is not None
    own, child = again["20261118-110640-aaaaaa"], again["20261118-110640-bbbbbb"]
    assert first.subject == f"tc.lab-replay.run.{own}.a.started"
    assert msgspec.json.decode(first.body)["forked_from"] == "20261118-110640-aaaaaa"
    assert memory.headers["Tc-Run"] == f"{own}/00f067aa0ba902b7"
    assert inner.subject == f"tc.lab-replay.run.{child}.a.started"
    assert msgspec.json.decode(inner.body)["parent"] == own
    assert msgspec.json.decode(inner.body)["forked_from"] == "20261118-110640-bbbbbb"
    assert first.headers["Tc-Replay"] == "lab/10"
