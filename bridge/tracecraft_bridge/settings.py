"""What the bridge is told, by environment variables."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tracecraft_bridge.artifacts.settings import StoreSettings, store_from_environment
from tracecraft_core import names
from tracecraft_core.errors import UsageError
from tracecraft_core.settings import DEFAULT_PROJECT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracecraft_core.transport import ServerOptions

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d|w)")
_SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}

DEFAULT_LISTEN: Final = "127.0.0.1:9464"
DEFAULT_OTLP: Final = "127.0.0.1:4318"
"""Where every exporter of OTLP/HTTP sends when it is told nothing."""
SHORTEST_TOKEN: Final = 16
"""Characters."""
MAX_BATCH: Final = 20_000

VARIABLES: Final = """\
  TRACECRAFT_SERVER          NATS server, several with commas (default nats://127.0.0.1:4222)
  TRACECRAFT_CREDS           path of a NATS .creds file; TRACECRAFT_TOKEN, _USER, _CONTEXT and so on as for any command
  TRACECRAFT_POSTGRES        libpq URL of the database (required), as postgresql://tracecraft@127.0.0.1/tracecraft
  TRACECRAFT_BRIDGE_LISTEN   where /healthz and /metrics answer (default 127.0.0.1:9464; port 0: a free one)
  TRACECRAFT_RETENTION       how long mirrored messages stay in the log on the bus (default 7d; 'forever': no purge)
  TRACECRAFT_RUN_RETENTION   how long runs, and the mirrored log, stay in the database (default forever)
  TRACECRAFT_BRIDGE_BATCH    most messages in one transaction (default 4000)
  TRACECRAFT_TRIM_AGE        youngest age of a memory or task revision that may be trimmed (default 10m)
  TRACECRAFT_HOUSEKEEPING    time between two rounds of purging and trimming (default 1m)
  TRACECRAFT_S3_ENDPOINT     URL of the artifact store, as http://127.0.0.1:8333; without it there are no artifacts
  TRACECRAFT_S3_ACCESS_KEY   its access key; and TRACECRAFT_S3_SECRET_KEY
  TRACECRAFT_S3_BUCKET       its bucket, made when it is not there (default tracecraft); TRACECRAFT_S3_REGION
  TRACECRAFT_S3_PUBLIC_ENDPOINT  how agents reach it, when not by the same URL
  TRACECRAFT_S3_URL_EXPIRY   how long the URL of one object is good (default 15m)
  TRACECRAFT_BLOB_GRACE      how long a file may lie in the store without being referenced (default 24h)
  TRACECRAFT_BUNDLE_SEED     path of a file with the seed of an NKey (SU…) that signs bundles (default: not signed)
  TRACECRAFT_OTLP_TOKEN      what OpenTelemetry exporters must send as bearer token; without it there is no receiver
  TRACECRAFT_OTLP_LISTEN     where it receives OTLP/HTTP (default 127.0.0.1:4318; port 0: a free one)
  TRACECRAFT_OTLP_PROJECT    project of telemetry that names none by tracecraft.project (default 'default')
  TRACECRAFT_OTLP_SILENCE    after how long a run is over that only telemetry writes into (default 15m)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OtlpSettings:
    """The receiver of OpenTelemetry."""

    listen: tuple[str, int]
    token: str = field(repr=False)
    project: str
    silence: float
    """Seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, with times in seconds."""

    bus: ServerOptions
    postgres: str = field(repr=False)
    listen: tuple[str, int]
    retention: float | None
    """``None``: nothing is purged."""
    batch: int
    trim_age: float
    housekeeping: float
    store: StoreSettings | None = None
    """Without one there are no artifacts."""
    blob_grace: float = 86_400.0
    run_retention: float | None = None
    """``None``: nothing is dropped from the database."""
    bundle_seed: bytes | None = field(default=None, repr=False)
    """Seed of the NKey that signs bundles; ``None``: they are not signed."""
    otlp: OtlpSettings | None = None
    """``None``: no telemetry is received."""


def from_environment(environ: Mapping[str, str], bus: ServerOptions) -> Settings:
    """Read the settings but for the bus, which `tracecraft_core.settings` knows.

    Raises `UsageError`, with the variable and an example.
    """
    retention = environ.get("TRACECRAFT_RETENTION") or "7d"
    runs = environ.get("TRACECRAFT_RUN_RETENTION") or "forever"
    return Settings(
        bus=bus,
        postgres=_postgres(environ),
        listen=_address("TRACECRAFT_BRIDGE_LISTEN", environ.get("TRACECRAFT_BRIDGE_LISTEN") or DEFAULT_LISTEN),
        retention=None if retention == "forever" else _seconds("TRACECRAFT_RETENTION", retention, "7d"),
        run_retention=None if runs == "forever" else _seconds("TRACECRAFT_RUN_RETENTION", runs, "52w"),
        batch=_count("TRACECRAFT_BRIDGE_BATCH", environ.get("TRACECRAFT_BRIDGE_BATCH") or "4000"),
        trim_age=_seconds("TRACECRAFT_TRIM_AGE", environ.get("TRACECRAFT_TRIM_AGE") or "10m", "10m"),
        housekeeping=max(
            0.1, _seconds("TRACECRAFT_HOUSEKEEPING", environ.get("TRACECRAFT_HOUSEKEEPING") or "1m", "1m")
        ),
        store=store_from_environment(
            environ,
            _seconds("TRACECRAFT_S3_URL_EXPIRY", environ.get("TRACECRAFT_S3_URL_EXPIRY") or "15m", "15m"),
        ),
        blob_grace=_seconds("TRACECRAFT_BLOB_GRACE", environ.get("TRACECRAFT_BLOB_GRACE") or "24h", "24h"),
        bundle_seed=_seed(environ.get("TRACECRAFT_BUNDLE_SEED", "")),
        otlp=_otlp(environ),
    )


def _otlp(environ: Mapping[str, str]) -> OtlpSettings | None:
    token = environ.get("TRACECRAFT_OTLP_TOKEN", "")
    if not token:
        return None
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(
            f"TRACECRAFT_OTLP_TOKEN has {len(token)} characters: expected at least {SHORTEST_TOKEN}, ASCII without "
            "spaces, for example what 'openssl rand -hex 24' prints"
        )
    name, silence = "TRACECRAFT_OTLP_LISTEN", "TRACECRAFT_OTLP_SILENCE"
    return OtlpSettings(
        listen=_address(name, environ.get(name) or DEFAULT_OTLP),
        token=token,
        project=names.project(environ.get("TRACECRAFT_OTLP_PROJECT") or DEFAULT_PROJECT),
        silence=max(1.0, _seconds(silence, environ.get(silence) or "15m", "15m")),
    )


def _seed(path: str) -> bytes | None:
    if not path:
        return None
    try:
        seed = Path(path).read_bytes().strip()
    except OSError as error:
        raise UsageError(
            f"TRACECRAFT_BUNDLE_SEED is {path!r}: {error.strerror}; expected a file with an NKey seed"
        ) from None
    if not seed.startswith(b"S"):
        raise UsageError(f"TRACECRAFT_BUNDLE_SEED is {path!r}: no NKey seed is in it; 'nk -gen user' makes one (SU…)")
    return seed


def _postgres(environ: Mapping[str, str]) -> str:
    dsn = environ.get("TRACECRAFT_POSTGRES", "")
    if not dsn:
        raise UsageError(
            "TRACECRAFT_POSTGRES is not set: it names the database to mirror into, "
            "for example postgresql://tracecraft@127.0.0.1:5432/tracecraft"
        )
    return dsn


def _address(name: str, value: str) -> tuple[str, int]:
    host, colon, port = value.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"{name} is {value!r}: expected host:port, for example {DEFAULT_LISTEN}")
    return host.strip("[]") or "127.0.0.1", int(port)


def _count(name: str, value: str) -> int:
    if not value.isdigit() or not 1 <= int(value) <= MAX_BATCH:
        raise UsageError(f"{name} is {value!r}: expected a number from 1 to {MAX_BATCH}, for example 4000")
    return int(value)


def _seconds(name: str, value: str, example: str) -> float:
    found = _DURATION.fullmatch(value)
    if not found:
        raise UsageError(f"{name} is {value!r}: expected a number with s, m, h, d or w, for example {example}")
    return float(found.group(1)) * _SECONDS[found.group(2)]
