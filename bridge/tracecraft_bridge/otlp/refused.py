"""Why a request is not taken, as HTTP and as google.rpc.Status say it."""

from __future__ import annotations

from typing import Final

CODES: Final = {400: 3, 401: 16, 404: 5, 405: 12, 411: 3, 413: 8, 415: 3, 429: 8, 500: 13, 503: 14}
"""HTTP status -> code of google.rpc (https://grpc.io/docs/guides/status-codes/)."""


class Refused(Exception):
    """Nothing of the request was taken. With ``retry_after`` (seconds) the exporter is to send it again."""

    def __init__(self, status: int, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.retry_after = status, message, retry_after

    @property
    def code(self) -> int:
        """The code of google.rpc."""
        return CODES.get(self.status, 2)


def later(message: str, seconds: int = 1) -> Refused:
    """It cannot be taken now: the exporter keeps it and sends it again."""
    return Refused(503, message, retry_after=seconds)
