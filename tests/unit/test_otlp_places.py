"""Places for connections: those without the token are bounded, and the oldest of them goes first."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tracecraft_bridge.otlp.places import Places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def connect() -> Iterator[Callable[[], Pair]]:
    """Makes connections: our end and the other one."""
    made: list[socket.socket] = []

    def make() -> Pair:
        pair = socket.socketpair()
        made.extend(pair)
        pair[1].setblocking(False)
        return pair

    yield make
    for each in made:
        each.close()


def is_closed(other: socket.socket) -> bool:
    """Whether our end was closed."""
    try:
        return other.recv(1) == b""
    except BlockingIOError:
        return False


def test_one_too_many_without_the_token_closes_the_oldest_of_them(connect: Callable[[], Pair]) -> None:
    places = Places(known=2, unknown=2, patience=5)
    first, second, third, fourth = (connect() for _ in range(4))
    for now, (mine, _) in enumerate((first, second, third)):
        places.enter(mine, now)
    assert [is_closed(other) for _, other in (first, second, third)] == [True, False, False]
    assert not places.admit(first[0]), "it is gone"
    assert places.admit(second[0])
    places.enter(fourth[0], 3)
    assert not is_closed(third[1]), "whoever has shown the token takes no place of the others"


def test_a_known_one_stays_and_the_others_go_in_time(connect: Callable[[], Pair]) -> None:
    places = Places(known=2, unknown=2, patience=5)
    known, slow = connect(), connect()
    places.enter(known[0], 0)
    places.enter(slow[0], 1)
    assert places.admit(known[0])
    places.expire(5.9)
    assert (is_closed(known[1]), is_closed(slow[1])) == (False, False)
    places.expire(6)
    assert (is_closed(known[1]), is_closed(slow[1])) == (False, True)
    assert places.admit(known[0]), "it may send again"


def test_those_with_the_token_are_bounded_too_and_a_place_comes_free(connect: Callable[[], Pair]) -> None:
    places = Places(known=1, unknown=2, patience=5)
    first, second = connect(), connect()
    for mine, _ in (first, second):
        places.enter(mine, 0)
    assert places.admit(first[0])
    assert not places.admit(second[0])
    assert not is_closed(second[1]), "it is told to come again"
    places.leave(first[0])
    assert places.admit(second[0])
