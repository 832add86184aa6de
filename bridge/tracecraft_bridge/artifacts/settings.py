"""Where the artifact store is, and how to log in there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from tracecraft_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

URL_SECONDS: Final = 900.0
"""How long a presigned URL is good, unless told otherwise; a transfer that began before goes on."""
MOST_URL_SECONDS: Final = 604_800.0
"""The signature (AWS SigV4) allows a week."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """An S3 endpoint, its one bucket and its keys."""

    endpoint: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    public_endpoint: str
    """Where clients reach it: in their URLs."""
    bucket: str = "tracecraft"
    region: str = "us-east-1"
    url_seconds: float = URL_SECONDS


def store_from_environment(environ: Mapping[str, str], url_seconds: float) -> StoreSettings | None:
    """``None`` without TRACECRAFT_S3_ENDPOINT. Raises `UsageError` when something else is missing or no URL."""
    endpoint = environ.get("TRACECRAFT_S3_ENDPOINT", "")
    if not endpoint:
        return None
    if not 1 <= url_seconds <= MOST_URL_SECONDS:
        raise UsageError(f"TRACECRAFT_S3_URL_EXPIRY is {url_seconds:g} s: expected 1s to 7d, for example 15m")
    return StoreSettings(
        endpoint=_url("TRACECRAFT_S3_ENDPOINT", endpoint),
        public_endpoint=_url("TRACECRAFT_S3_PUBLIC_ENDPOINT", environ.get("TRACECRAFT_S3_PUBLIC_ENDPOINT") or endpoint),
        access_key=_needed(environ, "TRACECRAFT_S3_ACCESS_KEY"),
        secret_key=_needed(environ, "TRACECRAFT_S3_SECRET_KEY"),
        bucket=environ.get("TRACECRAFT_S3_BUCKET") or "tracecraft",
        region=environ.get("TRACECRAFT_S3_REGION") or "us-east-1",
        url_seconds=url_seconds,
    )


def _url(name: str, value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError(f"{name} is {value!r}: expected a URL, for example http://127.0.0.1:8333")
    return value.rstrip("/")


def _needed(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name, "")
    if not value:
        raise UsageError(f"{name} is not set: TRACECRAFT_S3_ENDPOINT needs TRACECRAFT_S3_ACCESS_KEY and _SECRET_KEY")
    return value
