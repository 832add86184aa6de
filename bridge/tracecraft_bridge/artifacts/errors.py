"""What can go wrong with the artifact store."""

from __future__ import annotations

from tracecraft_core.errors import Damaged


class StoreAway(Exception):
    """The store does not answer, refuses our keys, or there is none; `hint` says what to do."""

    def __init__(self, reason: str, hint: str = "is it running? 'tracecraft doctor' looks into it") -> None:
        super().__init__(f"{reason}: {hint}")
        self.reason, self.hint = reason, hint


class ObjectMissing(Exception):
    """Nothing lies there. Attribute: ``name``, a key or a hash."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the artifact store has no {name}")
        self.name = name


class ObjectDamaged(Damaged):
    """The store is well and cannot give this one: its disk has spoilt it. Attribute: ``name``, a key or a hash."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "the artifact store cannot read it")
        self.name = name


class UploadRefused(Exception):
    """An upload that cannot be asked for, or cannot be committed; ``hint`` says what to do."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(f"{reason}: {hint}")
        self.reason, self.hint = reason, hint


class BadUpload(UploadRefused):
    """The question itself is wrong."""
