"""The shared memory through the SDK: conditions, changes, history, and no lost update."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from tracecraft import AsyncSession, Entry
from tracecraft_core import subjects
from tracecraft_core.errors import BodyTooLarge, InvalidName, NotFound, RevisionConflict, UsageError
from tracecraft_core.pull import Puller, watcher_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tracecraft_stack.nats_server import NatsServer


@pytest.fixture
async def session(nats: NatsServer, project: str) -> AsyncIterator[AsyncSession]:
    async with AsyncSession(server=nats.url, project=project, agent="ann") as opened:
        yield opened


async def test_a_value_comes_back_as_it_was_set(session: AsyncSession) -> None:
    for value in (47, -1.5, None, True, "words", "", [1, [2]], {"a": {"b": None}}, "한국어 🙂", 2**70):
        revision = await session.memory.set("k", value)
        entry = await session.memory.entry("k")
        assert entry is not None
        assert (entry.value, entry.revision, entry.deleted) == (value, revision, False)


async def test_a_key_without_a_value_gives_the_default(session: AsyncSession) -> None:
    assert await session.memory.get("never") is None
    assert await session.memory.get("never", 7) == 7
    assert await session.memory.entry("never") is None


async def test_if_revision_writes_only_at_that_revision(session: AsyncSession) -> None:
    first = await session.memory.set("k", 1)
    second = await session.memory.set("k", 2, if_revision=first)
    with pytest.raises(RevisionConflict) as caught:
        await session.memory.set("k", 3, if_revision=first)
    assert (caught.value.expected, caught.value.actual) == (first, second)
    assert await session.memory.get("k") == 2


async def test_of_many_writers_at_once_the_best_value_stays(session: AsyncSession) -> None:
    scores = [0.3, 0.9, 0.1, 0.7, 0.95, 0.5, 0.2, 0.94]
    written = await asyncio.gather(
        *(session.memory.set_if_better("best", {"run": n, "m": {"f1": s}}, by="m.f1") for n, s in enumerate(scores))
    )
    assert await session.memory.get("best") == {"run": 4, "m": {"f1": 0.95}}
    assert written[4] is not None
    history = [entry.value["m"]["f1"] for entry in await session.memory.history("best")]
    assert history == sorted(history), "every write was better than the one before"
    assert len(history) == len([entry for entry in written if entry])


async def test_as_good_is_not_better_and_lower_turns_it_round(session: AsyncSession) -> None:
    assert await session.memory.set_if_better("loss", 0.5, lower=True)
    assert await session.memory.set_if_better("loss", 0.5, lower=True) is None
    assert await session.memory.set_if_better("loss", 0.7, lower=True) is None
    improved = await session.memory.set_if_better("loss", 0.4, lower=True)
    assert improved is not None
    assert (improved.value, await session.memory.get("loss")) == (0.4, 0.4)
    await session.memory.delete("loss")
    assert await session.memory.set_if_better("loss", 9, lower=True), "a deleted value is nothing to beat"


@pytest.mark.parametrize("value", [{"score": "high"}, {"score": True}, {}, [1]])
async def test_what_has_no_number_cannot_be_better(session: AsyncSession, value: Any) -> None:
    with pytest.raises(UsageError, match=r"the new value of best has no number at 'score'"):
        await session.memory.set_if_better("best", value, by="score")
    await session.memory.set("best", "words")
    with pytest.raises(UsageError, match=r"best has no number at 'score' to compare by: words"):
        await session.memory.set_if_better("best", {"score": 1}, by="score")
    assert await session.memory.get("best") == "words"


async def test_if_absent_writes_once_and_again_after_a_deletion(session: AsyncSession) -> None:
    await session.memory.set("k", 1, if_absent=True)
    with pytest.raises(RevisionConflict):
        await session.memory.set("k", 2, if_absent=True)
    await session.memory.delete("k")
    await session.memory.set("k", 3, if_absent=True)
    assert [(entry.value, entry.deleted) for entry in await session.memory.history("k")] == [
        (1, False),
        (None, True),
        (3, False),
    ]


async def test_both_conditions_at_once_are_refused(session: AsyncSession) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        await session.memory.set("k", 1, if_absent=True, if_revision=3)


async def test_of_twenty_that_create_a_key_at_once_one_succeeds(session: AsyncSession) -> None:
    attempts = (session.memory.set("k", number, if_absent=True) for number in range(20))
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    assert len([outcome for outcome in outcomes if isinstance(outcome, int)]) == 1
    assert len([outcome for outcome in outcomes if isinstance(outcome, RevisionConflict)]) == 19


async def test_deleting_needs_a_value_and_the_right_revision(session: AsyncSession) -> None:
    with pytest.raises(NotFound):
        await session.memory.delete("k")
    first = await session.memory.set("k", 1)
    second = await session.memory.set("k", 2)
    with pytest.raises(RevisionConflict):
        await session.memory.delete("k", if_revision=first)
    assert await session.memory.get("k") == 2
    await session.memory.delete("k", if_revision=second)
    assert await session.memory.get("k", "gone") == "gone"
    with pytest.raises(NotFound):
        await session.memory.delete("k")


async def test_history_keeps_the_newest_revisions_oldest_first(session: AsyncSession) -> None:
    for number in range(80):
        await session.memory.set("k", number)
    assert [entry.value for entry in await session.memory.history("k", limit=3)] == [77, 78, 79]
    assert len(await session.memory.history("k", limit=100)) == 80
    assert await session.memory.history("never") == []


async def test_an_old_revision_can_be_read_and_one_of_another_key_cannot(session: AsyncSession) -> None:
    first = await session.memory.set("k", 1)
    other = await session.memory.set("other", 2)
    await session.memory.set("k", 3)
    assert await session.memory.get("k", revision=first) == 1
    for revision in (other, other + 10_000):
        with pytest.raises(NotFound, match="revision"):
            await session.memory.get("k", revision=revision)


async def test_list_takes_a_prefix_and_leaves_deleted_keys_out(session: AsyncSession) -> None:
    for key in ("a.b", "a.bc", "a.d.e", "ab", "b"):
        await session.memory.set(key, key)
    await session.memory.delete("a.bc")
    for prefix, keys in (
        ("", ["a.b", "a.d.e", "ab", "b"]),
        ("a", ["a.b", "a.d.e", "ab"]),
        ("a.", ["a.b", "a.d.e"]),
        ("a.b", ["a.b"]),
        ("c", []),
    ):
        assert [entry.key for entry in await session.memory.list(prefix)] == keys


async def test_six_hundred_keys_are_all_listed(session: AsyncSession) -> None:
    wanted = [f"k.{number:03}" for number in range(600)]
    await asyncio.gather(*(session.memory.set(key, key) for key in wanted))
    assert [entry.value for entry in await session.memory.list("k.")] == wanted


async def read(session: AsyncSession, pattern: str, count: int, *, initial: bool) -> list[Entry]:
    seen: list[Entry] = []
    async with asyncio.timeout(10), contextlib.aclosing(session.memory.watch(pattern, initial=initial)) as changes:
        async for entry in changes:
            seen.append(entry)
            if len(seen) == count:
                break
    return seen


async def test_an_initial_watch_begins_with_what_is_there_without_what_was_deleted(session: AsyncSession) -> None:
    for key in ("w.a", "w.gone", "w.b", "x"):
        await session.memory.set(key, 1)
    await session.memory.set("w.a", 2)
    await session.memory.delete("w.gone")
    watching = asyncio.create_task(read(session, "w.>", 5, initial=True))
    await asyncio.sleep(0.2)
    await session.memory.set("w.gone", 3)
    await session.memory.delete("w.gone")
    await session.memory.set("x", 9)
    await session.memory.set("w.c", 4)
    assert [(entry.key, entry.value, entry.deleted) for entry in await watching] == [
        ("w.b", 1, False),
        ("w.a", 2, False),
        ("w.gone", 3, False),
        ("w.gone", None, True),
        ("w.c", 4, False),
    ]


async def test_a_watch_sees_every_change_of_a_hot_key_in_order(session: AsyncSession) -> None:
    await session.memory.set("hot.start", 0)
    watching = asyncio.create_task(read(session, "hot.*", 301, initial=True))
    await asyncio.gather(*(session.memory.incr("hot.n") for _ in range(300)))
    seen = await watching
    assert [entry.value for entry in seen if entry.key == "hot.n"] == list(range(1, 301))


async def test_incr_refuses_what_is_no_number_and_writes_nothing(session: AsyncSession) -> None:
    for value in ("47", True, [1], {"n": 1}, None):
        revision = await session.memory.set("k", value)
        with pytest.raises(UsageError, match="not a number"):
            await session.memory.incr("k")
        entry = await session.memory.entry("k")
        assert entry is not None
        assert entry.revision == revision


async def test_incr_never_stores_infinity(session: AsyncSession) -> None:
    await session.memory.set("k", 1e308)
    with pytest.raises(UsageError, match="leaves the range of numbers"):
        await session.memory.incr("k", 1e308)
    assert await session.memory.get("k") == 1e308


async def test_incr_and_merge_begin_again_after_a_deletion(session: AsyncSession) -> None:
    await session.memory.set("n", 5)
    await session.memory.delete("n")
    assert await session.memory.incr("n", -2.5) == -2.5
    await session.memory.set("m", {"old": 1})
    await session.memory.delete("m")
    assert await session.memory.merge("m", {"new": 2, "x": None}) == {"new": 2}


async def test_a_value_over_the_limit_is_refused_and_nothing_is_written(session: AsyncSession) -> None:
    with pytest.raises(BodyTooLarge, match="over the limit of 262,144"):
        await session.memory.set("k", "x" * subjects.MAX_BODY_BYTES)
    assert await session.memory.entry("k") is None
    await session.memory.set("k", "x" * (subjects.MAX_BODY_BYTES - 2))


@pytest.mark.parametrize("key", ["", "a b", "a.*", "a.>", ".a", "x" * 257])
async def test_a_wrong_key_is_refused_by_every_verb(session: AsyncSession, key: str) -> None:
    memory = session.memory
    for verb in (memory.get(key), memory.set(key, 1), memory.delete(key), memory.history(key), memory.incr(key)):
        with pytest.raises(InvalidName):
            await verb


async def test_two_projects_do_not_see_each_other(session: AsyncSession, nats: NatsServer, project: str) -> None:
    async with AsyncSession(server=nats.url, project=f"{project}x", agent="ann") as other:
        await session.memory.set("k", "mine")
        await other.memory.set("k", "theirs")
        await other.memory.set("only", 1)
        assert await session.memory.get("k") == "mine"
        assert [entry.key for entry in await session.memory.list()] == ["k"]
        assert [entry.value for entry in await session.memory.history("k")] == ["mine"]


async def test_each_write_is_in_the_log_under_the_project_with_its_revision(session: AsyncSession) -> None:
    from tracecraft import timeline

    revisions = [
        await session.memory.set("k", 1, fence=("S1", 9)),
        await session.memory.set("k", 2),
        await session.memory.delete("k"),
    ]
    subject = timeline.subject_filter(session.project, "memory.k")
    async with Puller(session.context.bus, subjects.LOG, watcher_config([subject], "all")) as log:
        found = [timeline.entry_of((await taken).stored) for taken in [_next(log) for _ in revisions]]
    assert [entry.revision for entry in found] == revisions
    assert [entry.body for entry in found] == [1, 2, None]
    assert [entry.fence for entry in found] == ["S1:9", None, None]
    assert [entry.deleted for entry in found] == [False, False, True]


async def _next(log: Puller):  # type: ignore[no-untyped-def]
    delivery = await log.next(10)
    assert delivery is not None
    return delivery


@pytest.mark.parametrize("key", [5, None, b"k", ("a", "b")])
async def test_a_key_that_is_no_text_is_refused(session: AsyncSession, key: Any) -> None:
    with pytest.raises(InvalidName, match="not text"):
        await session.memory.set(key, 1)
    with pytest.raises(InvalidName, match="not text"):
        await session.tasks.add(key)
    with pytest.raises(InvalidName, match="not text"):
        await session.send(key, "hello")


@pytest.mark.parametrize("value", [b"x", bytearray(b"x"), {1, 2}, {"a": [frozenset()]}, [{"b": (b"x",)}], {b"k": 1}])
async def test_a_value_that_would_be_read_back_as_something_else_is_refused(session: AsyncSession, value: Any) -> None:
    with pytest.raises(UsageError, match="cannot be stored as JSON"):
        await session.memory.set("k", value)
    assert await session.memory.entry("k") is None


async def test_a_key_that_has_a_value_says_so_to_a_write_if_absent(session: AsyncSession) -> None:
    revision = await session.memory.set("k", 1)
    with pytest.raises(RevisionConflict, match=f"^k has a value already, revision {revision}"):
        await session.memory.set("k", 2, if_absent=True)


async def test_a_revision_that_is_not_kept_is_named_without_quotes(session: AsyncSession) -> None:
    with pytest.raises(NotFound, match=r"^no revision 1 of cnt: 'memory history'"):
        await session.memory.get("cnt", revision=1)
