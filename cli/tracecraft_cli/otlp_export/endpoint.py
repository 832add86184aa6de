"""`Endpoint`: an OTLP/HTTP receiver that spans are posted to, in batches, with patience.

OTLP 1.x over HTTP (https://opentelemetry.io/docs/specs/otlp/#otlphttp): 429, 502, 503 and 504 are tried again, after
``Retry-After`` where it is given; anything else but 200 is final; a 200 may still refuse some spans.
"""

from __future__ import annotations

import base64
import email.utils
import gzip
import http.client
import json
import random
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, unquote, urlsplit

from tracecraft_cli.amounts import counted
from tracecraft_cli.otlp_export.encoding import INSTALL, JSON_TYPE, PROTOBUF_TYPE, has_protobuf
from tracecraft_core.errors import TracecraftError, UsageError
from tracecraft_core.quotation import oneline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracecraft_cli.otlp_export.encoding import Encoder
    from tracecraft_cli.otlp_export.span import Span

PATH: Final = "/v1/traces"
TIMEOUT_S: Final = 30.0
"""Seconds that one request may take."""
PATIENCE_S: Final = 60.0
"""Seconds in which a batch is tried again."""
FIRST_WAIT_S: Final = 0.5
RETRIED: Final = frozenset({429, 502, 503, 504})
TOO_LARGE: Final = 413
HEADERS_VARIABLE: Final = "OTEL_EXPORTER_OTLP_HEADERS"
"""OpenTelemetry's own variable: ``name=value,name=value``, with percent-encoding."""
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class EndpointAway(TracecraftError):
    """An OTLP endpoint does not answer, or not now. Attributes: ``endpoint``, ``reason``, ``sent`` spans before."""

    exit_code = 69

    def __init__(self, endpoint: str, reason: str, sent: int) -> None:
        super().__init__(f"{endpoint} does not take spans now ({reason}); {_there(sent)}")
        self.endpoint, self.reason, self.sent = endpoint, reason, sent


class EndpointRefused(TracecraftError):
    """An OTLP endpoint refuses what it was sent. Attributes: ``endpoint``, ``status`` (HTTP), ``reason``, ``sent``."""

    def __init__(self, endpoint: str, status: int, reason: str, sent: int) -> None:
        super().__init__(f"{endpoint} refused spans ({reason}){_hint(status)}; {_there(sent)}")
        self.endpoint, self.status, self.reason, self.sent = endpoint, status, reason, sent


def _there(sent: int) -> str:
    if not sent:
        return "nothing was taken"
    return f"{counted(sent, 'span was', 'spans were')} taken; what is sent again has the same ids"


def _hint(status: int) -> str:
    if status in (401, 403):
        return ": give its key, for example --header 'Authorization=Bearer KEY'"
    if status == 404:
        return f": is it an OTLP endpoint? {PATH} is added to the address unless it ends so"
    if status == 415 and not has_protobuf():
        return f": it may want protobuf, which needs the package opentelemetry-proto ({INSTALL})"
    return ""


def header(text: str) -> tuple[str, str]:
    """Name and value of ``K=V``. Raises `UsageError`, which does not show the value."""
    name, equals, value = text.partition("=")
    if not equals or not _NAME.fullmatch(name.strip()) or not value.isprintable():
        shown = f"header {name[:40]!r}" if equals else "a header"  # else it may be the value
        raise UsageError(f"{shown}: expected NAME=VALUE, for example 'Authorization=Bearer KEY'")
    return name.strip(), value.strip()


def environment_headers(said: str) -> dict[str, str]:
    """Headers of OpenTelemetry's variable."""
    words = (word for word in said.split(",") if "=" in word)
    return dict(header(f"{name}={unquote(value)}") for name, _, value in (word.partition("=") for word in words))


def is_url(target: str) -> bool:
    """Whether spans are posted there; anything else is a file."""
    return target.lower().startswith(("http://", "https://"))


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    kind: str
    body: bytes
    after: float | None


class Endpoint:
    """One endpoint. Raises `UsageError` for an address that is none."""

    def __init__(self, address: str, headers: Mapping[str, str], encoder: Encoder) -> None:
        self._parts = _address(address)
        path = self._parts.path.rstrip("/")
        self._path = path if path.endswith(PATH) else path + PATH
        if self._parts.query:
            self._path += f"?{self._parts.query}"
        self.name = f"{self._parts.scheme}://{self._parts.netloc.rpartition('@')[2]}{self._path.partition('?')[0]}"
        """The address without what may be secret."""
        self._encoder, self._protobuf = encoder, has_protobuf()
        self._headers = {**_authorization(self._parts), **headers}
        self.taken = 0
        self.rejected = 0
        self.warnings: list[str] = []
        """What it said of what it took only in part."""

    def send(self, spans: Sequence[Span]) -> None:
        """Post a batch; one that is too large goes in halves. Raises `EndpointAway` and `EndpointRefused`."""
        body = self._encoder.protobuf(spans) if self._protobuf else self._encoder.json(spans)
        reply = self._persist(gzip.compress(body, 5))
        if reply.status == TOO_LARGE and len(spans) > 1:
            middle = len(spans) // 2
            self.send(spans[:middle])
            self.send(spans[middle:])
            return
        if not 200 <= reply.status < 300:
            raise EndpointRefused(self.name, reply.status, _said(reply), self.taken)
        rejected, why = _partial(reply)
        self.rejected += rejected
        self.taken += len(spans) - rejected
        if why and why not in self.warnings:
            self.warnings.append(why)

    def _persist(self, body: bytes) -> _Reply:
        until, pause = time.monotonic() + PATIENCE_S, FIRST_WAIT_S
        while True:
            after = None
            try:
                reply = self._post(body)
                if reply.status not in RETRIED:
                    return reply
                reason, after = _said(reply), reply.after
            except (OSError, http.client.HTTPException) as error:
                reason = str(error) or type(error).__name__
                if isinstance(error, ConnectionRefusedError) and not self.taken:
                    raise EndpointAway(self.name, "nobody listens there", self.taken) from None
            wait = pause * random.uniform(0.5, 1.5) if after is None else after
            if time.monotonic() + wait > until:
                asked = "" if after is None else f"; it asks to wait {after:.0f} s"
                raise EndpointAway(self.name, reason + asked, self.taken)
            time.sleep(wait)
            pause = min(pause * 2, 10.0)

    def _post(self, body: bytes) -> _Reply:
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._parts.netloc.rpartition("@")[2], timeout=TIMEOUT_S)
        own = {
            "Content-Type": PROTOBUF_TYPE if self._protobuf else JSON_TYPE,
            "Content-Encoding": "gzip",
            "User-Agent": "tracecraft",
        }
        try:
            connection.request("POST", self._path, body=body, headers={**own, **self._headers})
            response = connection.getresponse()
            after = _seconds(response.getheader("Retry-After"))
            return _Reply(response.status, response.getheader("Content-Type", ""), response.read(64 * 1024), after)
        finally:
            connection.close()


def _address(address: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        raise UsageError("--otlp: its address has a port that is none; for example http://127.0.0.1:4318") from None
    if not parts.hostname or port == 0:
        raise UsageError("--otlp: its address has no host; for example http://127.0.0.1:4318")
    return parts


def _authorization(parts: SplitResult) -> dict[str, str]:
    if parts.username is None:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def _seconds(after: str | None) -> float | None:
    """What ``Retry-After`` says: seconds, or a date."""
    if after is None:
        return None
    try:
        if after.strip().isdigit():
            return float(after)
        return max(0.0, email.utils.parsedate_to_datetime(after).timestamp() - time.time())
    except ValueError:
        return None


def _partial(reply: _Reply) -> tuple[int, str]:
    """How many spans a 200 refuses, and why."""
    try:
        if "json" in reply.kind:
            said = json.loads(reply.body or b"{}").get("partialSuccess") or {}
            return int(said.get("rejectedSpans") or 0), oneline(str(said.get("errorMessage") or ""), 300)
        if "protobuf" in reply.kind and reply.body and has_protobuf():
            from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

            found = ExportTraceServiceResponse.FromString(reply.body).partial_success
            return found.rejected_spans, oneline(found.error_message, 300)
    except Exception:  # what it answers to a request that it took need not be OTLP
        return 0, ""
    return 0, ""


def _said(reply: _Reply) -> str:
    """The status, and the beginning of what came with it."""
    name = http.client.responses.get(reply.status, "")
    words = f"{reply.status} {name}".strip()
    if "protobuf" in reply.kind or not reply.body:
        return words
    return f"{words}: {oneline(reply.body[:400].decode('utf-8', 'replace'), 200)}"
