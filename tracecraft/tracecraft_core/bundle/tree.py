"""The hash tree over a bundle's members, after RFC 6962 section 2.1. Pure."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def leaf(name: str, sha256: str) -> bytes:
    """Hash of one member: ``SHA-256(0x00 || name || 0x00 || SHA-256 of its content)``."""
    return hashlib.sha256(b"\0" + name.encode() + b"\0" + bytes.fromhex(sha256)).digest()


def root(leaves: Sequence[bytes]) -> str:
    """Root of the tree, 64 hexadecimal digits; of no leaves, the hash of nothing."""
    return _node(leaves).hex() if leaves else hashlib.sha256().hexdigest()


def _node(leaves: Sequence[bytes]) -> bytes:
    """``SHA-256(0x01 || left || right)``, split at the largest power of two below the number of leaves."""
    if len(leaves) == 1:
        return leaves[0]
    middle = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + _node(leaves[:middle]) + _node(leaves[middle:])).digest()
