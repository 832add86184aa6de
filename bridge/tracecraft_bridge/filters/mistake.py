"""What is wrong with a filter, and where."""

from __future__ import annotations

from typing import Final

WIDTH: Final = 100
"""Characters of a filter that are shown around a mistake."""


class FilterError(ValueError):
    """A filter that cannot be understood.

    Attributes: ``problem``, ``hint``, ``position`` (from 0), ``drawing`` (the filter with a caret below the place).
    """

    def __init__(self, text: str, position: int, problem: str, hint: str = "") -> None:
        self.problem, self.hint, self.position = problem, hint, min(position, len(text))
        self.drawing = _drawing(text, self.position)
        super().__init__(f"column {self.position + 1}: {problem}")


def _drawing(text: str, position: int) -> str:
    begin = max(0, min(position - WIDTH // 2, len(text) - WIDTH))
    shown = "".join(sign if sign.isprintable() else " " for sign in text[begin : begin + WIDTH])
    return f"  {shown}\n  {' ' * (position - begin)}^"
