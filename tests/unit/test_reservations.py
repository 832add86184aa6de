"""Globs and reservations: what meets what, decided exactly, and ids that can be read back."""

from __future__ import annotations

import functools
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracecraft_core import globs, names, reservations, task_ids
from tracecraft_core.bodies import TaskRecord
from tracecraft_core.errors import FileReserved, UsageError
from tracecraft_core.reservations import Reservation, Reserved
from tracecraft_core.tasks import Holder

ALPHABET = "ab."
NAMES = ["".join(name) for size in (1, 2) for name in itertools.product(ALPHABET, repeat=size)]
PATHS = [
    "/".join(parts) for size in (1, 2, 3) for parts in itertools.product(NAMES[: 12 if size < 3 else 6], repeat=size)
]

PIECES = ["a", "b", ".", "*", "?", "[ab]", "[!a]", "[a-b]"]
PART = st.one_of(st.just("**"), st.lists(st.sampled_from(PIECES), min_size=1, max_size=3).map("".join)).filter(
    lambda part: part not in (".", "..")
)
GLOB = st.lists(PART, min_size=1, max_size=4).map("/".join)


# -- another way to decide it: parts by recursion, names by recursion ---------------------------------------------


def matches(parts: list[str], path: list[str]) -> bool:
    if not parts:
        return not path
    if parts[0] == "**":
        if len(parts) == 1:
            return bool(path)
        return any(matches(parts[1:], path[cut:]) for cut in range(len(path) + 1))
    return bool(path) and name_matches(parts[0], path[0]) and matches(parts[1:], path[1:])


@functools.cache
def name_matches(part: str, name: str) -> bool:
    if not part:
        return not name
    if part[0] == "*":
        return any(name_matches(part[1:], name[cut:]) for cut in range(len(name) + 1))
    if part[0] == "[":
        inner, _, rest = part[1:].partition("]")
        among = {"ab": "ab", "!a": "b.", "a-b": "ab"}[inner]
        return bool(name) and name[0] in among and name_matches(rest, name[1:])
    return bool(name) and part[0] in ("?", name[0]) and name_matches(part[1:], name[1:])


def all_matches(glob: str) -> set[str]:
    return {path for path in PATHS if matches(glob.split("/"), path.split("/"))}


# -- globs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("glob", "path", "wanted"),
    [
        ("src/a.py", "src/a.py", True),
        ("src/a.py", "src/A.py", False),
        ("src/*.py", "src/deep/a.py", False),
        ("src/*.py", "src/.hidden.py", True),
        ("src/**", "src/deep/a.py", True),
        ("src/**", "src", False),
        ("**/a.py", "a.py", True),
        ("**/a.py", "x/y/a.py", True),
        ("a/**/b", "a/b", True),
        ("a/**/b", "a/x/y/b", True),
        ("a/**/b", "axb", False),
        ("**", "anything/at/all", True),
        ("a?c", "a/c", False),
        ("a[!b]c", "a/c", False),
        ("a[!b]c", "axc", True),
        ("[[]id]/page", "[id]/page", True),
        ("a[b", "a[b", True),
        ("[]a]", "]", True),
        ("[^a]", "a", False),
        ("x**y", "xANDy", True),
        ("x**y", "x/y", False),
        ("näme-?", "näme-ü", True),
    ],
)
def test_what_a_glob_matches(glob: str, path: str, wanted: bool) -> None:
    assert globs.matches(globs.parse(glob), path) is wanted


@pytest.mark.parametrize(
    "text",
    ["", "/etc/passwd", "a//b", "a/../b", "./a", "a/", "a\\b", "[z-a]", "[[:alpha:]]", "a\0", "x" * 1025, "\udcff"],
    ids=ascii,
)
def test_what_is_no_glob_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError):
        globs.parse(text)


@settings(deadline=None)
@given(GLOB, st.sampled_from(PATHS))
def test_a_glob_matches_what_another_way_of_deciding_says(glob: str, path: str) -> None:
    assert globs.matches(globs.parse(glob), path) == matches(glob.split("/"), path.split("/"))


@settings(max_examples=300, deadline=None)
@given(GLOB, GLOB)
def test_two_globs_meet_just_where_some_path_matches_both(one: str, other: str) -> None:
    found = globs.meeting(globs.parse(one), globs.parse(other))
    common = all_matches(one) & all_matches(other)
    if found is None:
        assert not common
    else:
        assert globs.matches(globs.parse(one), found)
        assert globs.matches(globs.parse(other), found)
        assert "" not in found.split("/")
    assert (globs.meeting(globs.parse(other), globs.parse(one)) is None) == (found is None)


@settings(max_examples=300, deadline=None)
@given(GLOB, GLOB)
def test_a_glob_that_covers_another_matches_all_that_it_does(outer: str, inner: str) -> None:
    if globs.covers(globs.parse(outer), globs.parse(inner)):
        assert all_matches(inner) <= all_matches(outer)
        assert not all_matches(inner) or globs.meeting(globs.parse(outer), globs.parse(inner)) is not None


@pytest.mark.parametrize(
    ("outer", "inner", "wanted"),
    [
        ("src/**", "src/a.py", True),
        ("src/**", "src/*.py", True),
        ("src/**", "src/**", True),
        ("src/**", "src/x/**", True),
        ("src/x/**", "src/**", False),
        ("**", "**/*", True),
        ("**/*", "**", True),
        ("*.py", "a*.py", True),
        ("a*.py", "*.py", False),
        ("[a-c]x", "[ab]x", True),
        ("[ab]x", "?x", False),
        ("*a*", "*", False),
        ("src/*", "src/**", False),
    ],
)
def test_which_globs_cover_which(outer: str, inner: str, wanted: bool) -> None:
    assert globs.covers(globs.parse(outer), globs.parse(inner)) is wanted


def test_a_pattern_made_to_be_hard_is_answered_within_its_bound() -> None:
    hard, other = globs.parse("*a" * 500 + "*"), globs.parse("*b" * 500)
    assert not globs.matches(hard, "a" * 499 + "b" * 500)
    assert globs.meeting(hard, other) is not None
    assert globs.covers(globs.parse("*a" + "?" * 30), globs.parse("*" + "[ab]" * 31)) is False


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="/\\\0"), min_size=1, max_size=20))
def test_an_escaped_path_matches_itself_and_nothing_else(name: str) -> None:
    if name in (".", ".."):
        return
    glob = globs.parse(globs.escape(name))
    assert globs.matches(glob, name)
    assert glob.whole
    assert glob.prefix == name


# -- ids ----------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="/\\\0[")), min_size=1, max_size=5))
def test_the_id_of_a_glob_is_a_task_id_and_can_be_read_back(parts: list[str]) -> None:
    glob = "/".join(parts)
    if any(part in ("", ".", "..") for part in parts):
        return
    task = reservations.task_of(glob)
    assert names.task(task) == task
    assert reservations.is_reservation(task)
    assert reservations.glob_of(task) in (glob, None)
    assert (reservations.glob_of(task) is None) == (task_ids.HASHED in task)


def test_ids_can_be_read_by_people() -> None:
    assert reservations.task_of("src/parse.py") == "file.src.parse=2Epy"
    assert reservations.task_of("src/**") == "file.src.=2A=2A"


def test_a_glob_that_is_too_long_for_an_id_has_one_of_its_hash() -> None:
    task = reservations.task_of("x/" * 200 + "a")
    assert names.task(task) == task
    assert reservations.glob_of(task) is None
    assert task != reservations.task_of("x/" * 200 + "b")


def test_a_plain_path_chooses_what_lies_in_the_folder_of_that_name() -> None:
    found = [held("src/a.py", "a", 1), held("src", "a", 2), held("srcs", "a", 3), held("src/**", "a", 4)]
    assert [one.glob for one in reservations.chosen("src", found)] == ["src/a.py", "src", "src/**"]
    assert [one.glob for one in reservations.chosen("s*", found)] == ["src", "srcs"]


@pytest.mark.parametrize("task", ["file.a=", "file.a=2", "file.a=zz", "file.=2e", "S1.parse", "file.a/b", "file.=FF"])
def test_an_id_that_we_did_not_make_says_no_glob(task: str) -> None:
    assert reservations.glob_of(task) is None


def test_reservations_are_no_work_and_only_listed_where_they_are_named() -> None:
    assert not reservations.listed(">", "file.src")
    assert not reservations.listed("*.src", "file.src")
    assert reservations.listed("file.>", "file.src")
    assert reservations.listed(">", "files.src")
    with pytest.raises(UsageError, match="tracecraft reserve src"):
        reservations.check_work("file.src")


# -- who has it ---------------------------------------------------------------------------------------------------


def held(glob: str, owner: str, rank: int, also: tuple[str, ...] = ()) -> Reservation:
    return Reservation(glob, owner, "s", rank, "now", reservations.task_of(glob), rank=rank, also=also)


def test_of_two_that_overlap_the_lower_rank_has_it() -> None:
    found = [held("src/**", "alice", 7)]
    bob = Holder("bob", "s")
    refusal = reservations.refusal(["src/a.py"], found, bob, before=8)
    assert isinstance(refusal, FileReserved)
    assert (refusal.owner, refusal.glob, refusal.path) == ("alice", "src/**", "src/a.py")
    assert reservations.refusal(["src/a.py"], found, bob, before=6) is None
    assert reservations.refusal(["docs/a.md"], found, bob) is None


def test_the_words_of_a_refusal_have_no_power_over_the_terminal_and_are_short() -> None:
    found = [held("\x1b[2J" + "x" * 900, "alice", 7)]
    refusal = reservations.refusal(["**"], found, Holder("bob", "s"))
    assert refusal is not None
    assert "\x1b" not in str(refusal)
    assert len(str(refusal)) < 700


def test_what_is_being_reserved_together_counts_before_it_has_a_record() -> None:
    found = [held("docs/x", "alice", 7, also=("src/**",))]
    refusal = reservations.refusal(["src/a.py"], found, Holder("bob", "s"), before=8)
    assert refusal is not None
    assert refusal.glob == "src/**"


def test_ones_own_are_no_obstacle_but_those_of_another_session_of_the_agent_are() -> None:
    found = [held("src/**", "alice", 7)]
    assert reservations.refusal(["src/a.py"], found, Holder("alice", "s")) is None
    assert reservations.refusal(["src/a.py"], found, Holder("alice", "other")) is not None


@pytest.mark.parametrize(
    "data", [None, {}, {"glob": 7}, {"glob": "a/../b"}, "src", {"glob": "a", "also": ["\\"]}], ids=str
)
def test_a_record_that_cannot_be_understood_reserves_nothing(data: object) -> None:
    record = TaskRecord(state="claimed", owner="a", session="s", data=data)
    assert reservations.reservation("file.a", record, 3, "now") is None


def test_a_record_says_what_it_reserves() -> None:
    record = TaskRecord(state="claimed", owner="a", session="s", data=reservations.data_of(Reserved("a", ["b"])))
    found = reservations.reservation("file.a", record, 3, "now")
    assert found is not None
    assert (found.glob, found.also, found.rank, found.fence) == ("a", ("b",), 3, 3)


@pytest.mark.parametrize(
    ("glob", "tail", "may"),
    [
        ("src/a.py", "a.py", True),
        ("src/a.py", "src/a.py", True),
        ("a.py", "a.py", True),
        ("src/ba.py", "a.py", False),
        ("src/a.py", "lib/a.py", False),
        ("src/*.py", "a.py", True),
        ("src/*.py", "b/a.py", False),
        ("src/**", "b/a.py", True),
        ("src/[[]a].py", "[a].py", True),
        ("src/a.py", "*.py", False),
        ("src/a?b", "a\\b", True),
        ("src/**", "a" * 2_000, True),
        ("docs/x", "", True),
    ],
)
def test_a_reservation_may_be_of_a_file_of_which_only_the_end_of_the_path_is_known(
    glob: str, tail: str, may: bool
) -> None:
    held = Reservation(glob=glob, owner="a", session="s", fence=1, since="", task="t")
    assert (reservations.with_a_path_that_ends(tail, [held]) is not None) == may
