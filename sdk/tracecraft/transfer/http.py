"""One request to the store: PUT from blocks, GET into blocks."""

from __future__ import annotations

import contextlib
import http.client
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from tracecraft.transfer.progress import StoreUnreachable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

BLOCK: Final = 1 << 20
"""Bytes in memory at a time."""
TIMEOUT_S: Final = 30.0
"""Seconds in which a block must go through."""
EXISTS: Final = 412
"""Something lies there already, as ``If-None-Match: *`` forbids to replace."""
INTERNAL: Final = 500
"""SeaweedFS's answer, among else, when the object is spoilt on its disk."""
_GONE: Final = frozenset({404, 410})


class Gone(Exception):
    """The store has nothing there (any more)."""


class NotGiven(StoreUnreachable):
    """The store answers, and not with this object: it may be damaged. Attribute: ``place``, the byte to begin with."""

    def __init__(self, reason: str, place: int) -> None:
        super().__init__(reason)
        self.place = place


def put(url: str, length: int, blocks: Iterable[bytes | memoryview], headers: Mapping[str, str]) -> None:
    """PUT ``length`` bytes; what lies there already is as good. Raises `StoreUnreachable` and `Gone`."""
    with _connection(url) as (connection, path):
        connection.putrequest("PUT", path, skip_accept_encoding=True)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            connection.putheader(name, value)
        connection.endheaders()
        # A store that refuses says so before it has read everything, and closes: its answer tells why.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for block in blocks:
                connection.send(block)
        response = connection.getresponse()
        body = response.read(4096)
        if response.status not in {200, 201, 204, EXISTS}:
            _fail(response.status, body)


def get(url: str, first: int, length: int | None = None) -> Iterator[bytes]:
    """The bytes from ``first`` on, to the end or ``length`` of them. Raises `StoreUnreachable`, `NotGiven`, `Gone`."""
    last = "" if length is None else str(first + length - 1)
    ranged = first > 0 or length is not None
    with _connection(url) as (connection, path):
        connection.request("GET", path, headers={"Range": f"bytes={first}-{last}"} if ranged else {})
        response = connection.getresponse()
        if response.status == INTERNAL:
            raise NotGiven(_said(INTERNAL, response.read(4096)), first)
        if response.status != (206 if ranged else 200):
            _fail(response.status, response.read(4096))
        place = first
        while block := response.read(BLOCK):
            place += len(block)
            yield block
        if response.length:
            raise NotGiven(f"it broke off, {response.length:,} bytes are missing", place)


@contextmanager
def _connection(url: str) -> Iterator[tuple[http.client.HTTPConnection, str]]:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=TIMEOUT_S, blocksize=BLOCK)
    try:
        yield connection, f"{parts.path}?{parts.query}" if parts.query else parts.path
    except (OSError, http.client.HTTPException) as error:
        raise StoreUnreachable(f"{parts.hostname}:{parts.port}: {str(error) or type(error).__name__}") from error
    finally:
        connection.close()


def _fail(status: int, body: bytes) -> None:
    if status in _GONE:
        raise Gone
    raise StoreUnreachable(_said(status, body))


def _said(status: int, body: bytes) -> str:
    said = re.search(rb"<Message>(.*?)</Message>", body)
    reason = f": {said[1].decode(errors='replace')}" if said else ""
    return f"it answered {status}{reason}"
