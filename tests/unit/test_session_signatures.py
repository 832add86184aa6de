"""The blocking face and the asynchronous one are one interface: same names, parameters, defaults and results."""

from __future__ import annotations

import inspect
from functools import cached_property
from typing import Any

import pytest

from tracecraft import session
from tracecraft.async_session import AsyncSession
from tracecraft.blocking_reservations import Reservations
from tracecraft.blocking_runs import Runs
from tracecraft.claim import AsyncClaim
from tracecraft.mail import AsyncMail
from tracecraft.memory import AsyncMemory
from tracecraft.past_runs import AsyncRuns
from tracecraft.reservations import AsyncReservations
from tracecraft.session import Claim, Mail, Memory, Session, Tasks
from tracecraft.tasklist import AsyncTasks

PAIRS: list[tuple[type, type]] = [
    (AsyncSession, Session),
    (AsyncMemory, Memory),
    (AsyncMail, Mail),
    (AsyncTasks, Tasks),
    (AsyncRuns, Runs),
    (AsyncReservations, Reservations),
    (AsyncClaim, Claim),
]

PLUMBING = {"AsyncClaim": {"acquire", "finish", "held"}, "AsyncSession": {"announcer"}}
"""How `Claim` drives `AsyncClaim`; not for users."""


def public(kind: type) -> dict[str, Any]:
    hidden = PLUMBING.get(kind.__name__, set()) | parts(kind)
    return {name: value for name, value in vars(kind).items() if not name.startswith("_") and name not in hidden}


def parts(kind: type) -> set[str]:
    """What is made at first use: objects that are pairs of their own."""
    return {name for name, value in vars(kind).items() if isinstance(value, cached_property)}


def result(function: Any) -> str:
    """The annotated result, with what differs between the faces taken away."""
    text = str(inspect.signature(function).return_annotation).replace("Async", "")
    for wide in ("Generator", "Iterator"):
        text = text.replace(wide, "Iterator")
    return text


@pytest.mark.parametrize(("asynchronous", "blocking"), PAIRS)
def test_both_faces_have_the_same_names(asynchronous: type, blocking: type) -> None:
    assert public(asynchronous).keys() == public(blocking).keys()


def test_both_sessions_have_the_same_parts() -> None:
    blocking = Session(project="p", agent="a", server="nats://127.0.0.1:1")
    public_parts = {name for name in parts(AsyncSession) if not name.startswith("_")} - PLUMBING["AsyncSession"]
    assert public_parts == {name for name in vars(blocking) if not name.startswith("_")} - {"settings"}


@pytest.mark.parametrize(("asynchronous", "blocking"), PAIRS)
def test_both_faces_take_the_same_and_give_the_same(asynchronous: type, blocking: type) -> None:
    for name, theirs in public(asynchronous).items():
        ours = public(blocking)[name]
        if isinstance(theirs, property):
            assert isinstance(ours, property), name
            theirs, ours = theirs.fget, ours.fget
        wanted, found = inspect.signature(theirs), inspect.signature(ours)
        assert list(wanted.parameters.values()) == list(found.parameters.values()), name
        assert result(theirs) == result(ours), name


@pytest.mark.parametrize(("asynchronous", "blocking"), PAIRS)
def test_no_method_of_the_blocking_face_is_a_coroutine(asynchronous: type, blocking: type) -> None:
    for name, function in public(blocking).items():
        assert not inspect.iscoroutinefunction(function), name
        assert not inspect.isasyncgenfunction(function), name


@pytest.mark.parametrize(("asynchronous", "blocking"), PAIRS)
def test_every_method_says_what_it_does(asynchronous: type, blocking: type) -> None:
    for kind in (asynchronous, blocking):
        for name, member in public(kind).items():
            assert (member.fget if isinstance(member, property) else member).__doc__, f"{kind.__name__}.{name}"


def test_both_sessions_are_opened_with_the_same_arguments() -> None:
    assert inspect.signature(Session) == inspect.signature(AsyncSession)


def test_init_and_connect_take_what_names_a_session() -> None:
    named = list(inspect.signature(Session).parameters.values())[:4]
    for function in (session.init, session.connect):
        assert list(inspect.signature(function).parameters.values()) == named
