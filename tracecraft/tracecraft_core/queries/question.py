"""What all questions and answers have in common, and pages."""

from __future__ import annotations

from typing import Final

import msgspec

PAGE: Final = 100
"""Rows of a page when the question does not say."""
MAX_PAGE: Final = 1_000
"""Most rows of a page; a page ends sooner when it would not fit into one message."""


class Question(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all questions."""


class RunQuestion(Question, frozen=True, kw_only=True):
    """What many verbs ask: ``run`` is an id, or the end of one (``k3x9qa``) that only one run has."""

    run: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all answers; what is not known is null."""
