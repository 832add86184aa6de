"""The redaction rules of this process; what a rule is, and which ones there are: `tracecraft_core.redaction`."""

from __future__ import annotations

from typing import Final

from tracecraft_core.redaction import DEFAULTS, KEY_RULE, Redaction, Rule

__all__ = ["DEFAULTS", "KEY_RULE", "Redaction", "Rule", "redact"]

redact: Final = Redaction()
"""The rules of this process."""
