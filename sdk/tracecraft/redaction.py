"""The redaction rules of this process; what a rule is, and which ones there are: `tracecraft_core.redaction_rules`."""

from __future__ import annotations

from typing import Final

from tracecraft_core.redaction import KEY_RULE, Redaction
from tracecraft_core.redaction_rules import DEFAULTS, Rule

__all__ = ["DEFAULTS", "KEY_RULE", "Redaction", "Rule", "redact"]

redact: Final = Redaction()
"""The rules of this process."""
