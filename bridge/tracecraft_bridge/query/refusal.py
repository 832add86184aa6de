"""Questions that get no answer, and why."""

from __future__ import annotations

from typing import Literal

Code = Literal[400, 404, 409, 500, 503]


class Refusal(Exception):
    """What a handler raises in place of an answer.

    Attributes: ``code``, ``error``, ``hint`` (what to do), and with 404 ``kind`` and ``name`` of what is not there.
    """

    def __init__(self, code: Code, error: str, *, hint: str = "", kind: str = "", name: str = "") -> None:
        super().__init__(f"{error}: {hint}" if hint else error)
        self.code, self.error, self.hint, self.kind, self.name = code, error, hint, kind, name

    def body(self) -> dict[str, str]:
        """The JSON that is sent."""
        named = {"kind": self.kind, "name": self.name} if self.kind else {}
        return {"error": self.error, "hint": self.hint, **named}


def bad_question(error: str, hint: str = "") -> Refusal:
    """400: the question itself is wrong."""
    return Refusal(400, error, hint=hint)


def not_found(kind: str, name: str, hint: str = "") -> Refusal:
    """404: there is no such thing."""
    return Refusal(404, f"no {kind} {name!r}", hint=hint, kind=kind, name=name)


def conflict(error: str, hint: str = "") -> Refusal:
    """409: it cannot be done now."""
    return Refusal(409, error, hint=hint)


def failed(verb: str, error: Exception) -> Refusal:
    """500: a mistake of the bridge's own."""
    return Refusal(500, f"the bridge failed on {verb}: {type(error).__name__}", hint="its log has more")


def away(error: str, hint: str = "") -> Refusal:
    """503: a store behind the bridge is away, or takes too long."""
    return Refusal(503, error, hint=hint)
