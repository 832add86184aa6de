"""The rules by which secrets are taken out before anything is published."""

from __future__ import annotations

from typing import Final

from tracecraft_core.redaction import Redaction

redaction: Final = Redaction()
"""The default rules: what an application adds to its own is not known here."""
