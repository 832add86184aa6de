"""Which versions of the coding agents write what is read here, so far as anybody has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tracecraft.transcripts.sources import Source

SEEN: Final[dict[Source, tuple[str, ...]]] = {
    "claude": ("1.", "2."),
    "codex": ("0.",),
    "hermes": (),
    "openclaw": ("session 3", "session 4"),
}
"""How the versions begin that stand in transcripts; Hermes does not write its own."""


def strange(source: Source, version: str, unknown: int) -> str:
    """What people should know of a transcript that another version wrote; empty when there is nothing to say."""
    if not version or not SEEN[source] or version.startswith(SEEN[source]):
        return ""
    left = f"{unknown:,} of its lines are not known" if unknown else "all of its lines are known"
    return f"{source} {version} wrote it, which nobody has tried with this version of tracecraft: {left}"
