"""The pace at which a run is published again."""

from __future__ import annotations

from tests.support.recorded import a_search, delivered_late
from tracecraft_cli.replay.bus import times


def test_a_run_that_was_delivered_late_has_the_times_of_its_record() -> None:
    """The message of somebody else, of an hour later, goes along with its neighbours."""
    tape = delivered_late()
    paced = times(tape.entries)
    assert [time - paced[0] for time in paced] == [0, 100_000, 100_000, 400_000, 400_000, 500_000, 500_000, 600_000]


def test_a_run_that_was_there_at_once_has_the_times_of_the_log() -> None:
    tape = a_search()
    paced = times(tape.entries)
    assert paced == sorted(paced)
    assert paced[-1] - paced[0] == tape.now - paced[0]
