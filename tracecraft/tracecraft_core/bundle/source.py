"""Where the bytes of a bundle come from: a file, or an address that answers to ranges."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Final, Protocol

from tracecraft_core.errors import BridgeAway, Damaged

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TIMEOUT_S: Final = 30.0
"""Seconds for one range read over HTTP."""


class Source(Protocol):
    """Anything that reads ranges."""

    reads: int
    """How many ranges have been read."""

    def tail(self, length: int) -> tuple[bytes, int]:
        """The last bytes, at most so many, and the size of the whole."""

    def read(self, offset: int, length: int) -> bytes:
        """A range; shorter only where the whole ends."""

    def close(self) -> None:
        """Read no more."""


class FileSource:
    """A file. Raises `OSError`."""

    def __init__(self, path: Path) -> None:
        self.reads = 0
        self._file = path.open("rb")

    def tail(self, length: int) -> tuple[bytes, int]:
        """The last bytes, and the size."""
        size = self._file.seek(0, 2)
        offset = max(0, size - length)
        return self.read(offset, size - offset), size

    def read(self, offset: int, length: int) -> bytes:
        """A range."""
        self.reads += 1
        self._file.seek(offset)
        return self._file.read(length)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class HttpSource:
    """A presigned address; ``renew`` gives another one when it has expired. Raises `BridgeAway`."""

    def __init__(self, url: str, renew: Callable[[], str] | None = None) -> None:
        self.reads = 0
        self._url, self._renew = url, renew

    def tail(self, length: int) -> tuple[bytes, int]:
        """The last bytes, and the size."""
        data, said = self._get(f"-{length}")
        size = said.rpartition("/")[2]
        return data, int(size) if size.isdigit() else len(data)

    def read(self, offset: int, length: int) -> bytes:
        """A range."""
        return self._get(f"{offset}-{offset + length - 1}")[0] if length > 0 else b""

    def close(self) -> None:
        """Nothing stays open between two reads."""

    def _get(self, wanted: str) -> tuple[bytes, str]:
        self.reads += 1
        try:
            return self._once(wanted)
        except urllib.error.HTTPError as error:
            if error.code != 403 or self._renew is None:
                raise BridgeAway(f"the artifact store answers {error.code}") from None
        except OSError as error:
            raise BridgeAway(f"the artifact store does not answer: {error}") from None
        renew, self._url = self._renew, self._renew()
        self._renew = None  # an address that is new and refused is not a matter of time
        try:
            return self._once(wanted)
        except OSError as error:
            raise BridgeAway(f"the artifact store does not answer: {error}") from None
        finally:
            self._renew = renew

    def _once(self, wanted: str) -> tuple[bytes, str]:
        request = urllib.request.Request(self._url, headers={"Range": f"bytes={wanted}"})
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            data, said = answer.read(), answer.headers.get("Content-Range") or ""
            if answer.status != 206 and not wanted.startswith("-"):
                raise Damaged("the address of the bundle", "its server does not answer to ranges")
        return data, said
