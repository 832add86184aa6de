"""A writer's numbers: what arrived once, what is missing, what came twice."""

from __future__ import annotations

import random

from tracecraft_bridge.projection.writers import Writer, WriterRow


def _writer() -> Writer:
    return Writer(WriterRow("p", "r", "w", "a", 0, None, 0, 0, 0, ""), [])


def test_numbers_in_order_leave_no_hole() -> None:
    writer = _writer()
    assert [writer.take(number) for number in (1, 2, 3)] == [True, True, True]
    assert (writer.row.last_number, writer.row.received, writer.holes) == (3, 3, [])


def test_a_hole_is_filled_from_within() -> None:
    writer = _writer()
    assert writer.take(10) is True
    assert writer.take(5) is False
    assert writer.holes == [(1, 4), (6, 9)]
    assert writer.take(5) is None
    assert writer.take(10) is None
    assert (writer.row.received, writer.row.duplicates) == (2, 2)


def test_what_changed_of_the_holes_is_told_once() -> None:
    writer = _writer()
    writer.take(3)
    gone, new = writer.hole_changes()
    assert (gone, [(hole.first_number, hole.last_number) for hole in new]) == ([], [(1, 2)])
    writer.take(1)
    gone, new = writer.hole_changes()
    assert [(hole.first_number, hole.last_number) for hole in gone] == [(1, 2)]
    assert [(hole.first_number, hole.last_number) for hole in new] == [(2, 2)]
    assert writer.hole_changes() == ([], [])


def test_any_order_with_repeats_gives_what_the_set_of_numbers_says() -> None:
    draw = random.Random(7)
    for _ in range(50):
        writer, taken = _writer(), set[int]()
        for _ in range(80):
            number = draw.randrange(1, 60)
            assert (writer.take(number) is None) == (number in taken)
            taken.add(number)
        missing = {number for first, last in writer.holes for number in range(first, last + 1)}
        assert missing == set(range(1, max(taken) + 1)) - taken
        assert writer.row.received == len(taken)
