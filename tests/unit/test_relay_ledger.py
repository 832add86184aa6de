"""What a relay remembers, outside of the sandbox's reach."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import pytest

from tracecraft_cli.relay import ledger
from tracecraft_cli.relay.ledger import Entry, Ledger
from tracecraft_core.errors import Refused

if TYPE_CHECKING:
    from pathlib import Path

    from tracecraft_cli.relay.papers import State


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def entry(id_: str, state: State = "running") -> Entry:
    return Entry(id=id_, state=state, command="send", agent="a", time=1.0)


def test_what_was_entered_is_known_to_the_next_relay(tmp_path: Path) -> None:
    with contextlib.closing(Ledger.open(tmp_path)) as first:
        first.enter(entry("1"))
        first.enter(entry("1", "acked"))
        first.enter(entry("2"))
    with contextlib.closing(Ledger.open(tmp_path)) as second:
        assert second.known("1") == entry("1", "acked")
        assert second.begun() == [entry("2")]
        assert second.known("3") is None


def test_a_line_that_a_crash_tore_hides_no_other(tmp_path: Path) -> None:
    with contextlib.closing(Ledger.open(tmp_path)) as first:
        first.enter(entry("1"))
    path = ledger.home(tmp_path) / "ledger.jsonl"
    path.write_bytes(path.read_bytes() + b'{"id": "2", "sta')
    with contextlib.closing(Ledger.open(tmp_path)) as second:
        second.enter(entry("3"))
    with contextlib.closing(Ledger.open(tmp_path)) as third:
        assert [one.id for one in third.begun()] == ["1", "3"]


def test_it_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "KEPT", 10)
    with contextlib.closing(Ledger.open(tmp_path)) as first:
        for number in range(25):
            first.enter(entry(str(number)))
    with contextlib.closing(Ledger.open(tmp_path)) as second:
        assert [one.id for one in second.begun()] == [str(number) for number in range(15, 25)]
    assert (ledger.home(tmp_path) / "ledger.jsonl").read_bytes().count(b"\n") == 10


def test_of_two_for_one_workspace_the_second_is_told_of_the_first(tmp_path: Path) -> None:
    (tmp_path / "other").symlink_to(tmp_path)
    with contextlib.closing(Ledger.open(tmp_path)):
        for name in (tmp_path, tmp_path / "other"):
            with pytest.raises(Refused, match=f"process {os.getpid()} on "):
                Ledger.open(name)
    Ledger.open(tmp_path).close()
