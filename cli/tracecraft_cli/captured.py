"""What a program prints, shown as it comes and kept in a file."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

LIMIT: Final = 256 << 20
"""Bytes of an output that are kept; what comes behind them is shown all the same."""
_PIECE: Final = 1 << 20


class Captured:
    """One output of a program: ``stdout`` or ``stderr``."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.path = folder / f"{name}.txt"
        self._file = self.path.open("wb")
        self._size = 0

    def write(self, piece: bytes) -> None:
        """Show a piece and keep it."""
        stream = sys.stdout if self.name == "stdout" else sys.stderr
        with contextlib.suppress(OSError):
            stream.buffer.write(piece)
            stream.buffer.flush()
        kept = piece[: max(0, LIMIT - self._size)]
        self._size += len(piece)
        with contextlib.suppress(OSError, ValueError):  # a full disk; a grandchild that writes on after the end
            self._file.write(kept)

    def close(self) -> bool:
        """Keep no more, and take out what looks like a secret; ``False`` when nothing was printed."""
        if self._size > LIMIT:
            with contextlib.suppress(OSError):
                self._file.write(f"\n[tracecraft: {self._size - LIMIT} bytes more were printed]\n".encode())
        with contextlib.suppress(OSError):
            self._file.close()
        if not self._size:
            return False
        with contextlib.suppress(OSError):
            _redact(self.path)
        return True


def _redact(path: Path) -> None:
    """Rewrite a file without secrets, some lines at a time."""
    from tracecraft.redaction import redact

    clean, changed = path.with_suffix(".clean"), False
    with path.open("rb") as source, clean.open("wb") as target:
        while lines := source.readlines(_PIECE):
            before = b"".join(lines)
            text = before.decode("utf-8", "replace")
            after = redact.text(text)
            changed = changed or after != text
            target.write(before if after == text else after.encode())
    if changed:
        clean.replace(path)
    else:
        clean.unlink()
