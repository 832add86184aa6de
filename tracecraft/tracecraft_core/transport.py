"""One NATS connection: requests that cannot hang, and rights that are refused out loud.

nats-py buffers writes while it is disconnected, lets requests run into their timeout when the connection drops, and
reports a missing right to a callback only. Here a request fails at once when the connection drops or the right is
missing, nothing is buffered, and a client that closed for good is replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tracecraft_core.errors import SESSION_CLOSED, BusUnreachable, NotPermitted, UsageError
from tracecraft_core.nats_client import Client, errors
from tracecraft_core.urls import without_secrets

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

logger = logging.getLogger(__name__)

RECONNECT_S: Final = 0.25
"""Seconds between two attempts to connect."""

_DENIED = re.compile(r"permissions violation for (publish|subscription) to \"([^\"]+)\"")


class ConnectionDropped(Exception):
    """The connection went away while a request was under way: it may or may not have been carried out."""


class NoResponders(Exception):
    """Nobody listens on the subject: no such stream, or no leader for it yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """How to reach the bus."""

    servers: tuple[str, ...] = ("nats://127.0.0.1:4222",)
    token: str | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    creds: str | None = None
    """Path of a .creds file (JWT and nkey seed)."""
    nkey: str | None = None
    """Path of a file with an nkey seed."""
    tls: ssl.SSLContext | None = None
    tls_first: bool = False
    inbox_prefix: str = "_INBOX"
    js_prefix: str = "$JS.API"
    connect_timeout: float = 5.0
    """Seconds for one attempt to connect."""
    is_default: bool = False
    """Whether nobody named a server and none was found: at the default address a stranger's may listen."""

    def shown(self) -> str:
        """The servers without their secrets, for messages to people."""
        return ", ".join(without_secrets(server) for server in self.servers)


class Transport:
    """A connection that is made once, reconnects for ever, and is replaced when nats-py gives it up."""

    def __init__(self, options: ServerOptions, name: str) -> None:
        self.options = options
        self._name = name
        self._client = Client()
        self._inbox = ""
        self._next = 0
        self._waiting: dict[str, tuple[str, asyncio.Future[Msg]]] = {}
        self._lock = asyncio.Lock()
        self._closed = False
        self.connected = asyncio.Event()
        self.generation = 0
        """Counts connections made: whoever waits for pushed messages asks again when it changes."""
        self.clients = 0
        """Counts client objects: a subscription outlives a reconnection, but not its client."""
        self.on_trouble: set[Callable[[ConnectionDropped | NotPermitted], None]] = set()
        """Told when the connection drops and of every right that is denied: for those who wait for pushed messages."""
        self._deaf: NotPermitted | None = None
        """Why no reply can reach us: the user may not subscribe to its own inbox."""

    @property
    def closed(self) -> bool:
        """Whether `close` was called, and `connect` not since."""
        return self._closed

    def check_open(self) -> None:
        """Raise `UsageError` on a closed connection: nothing is sent, and nothing is worth waiting for."""
        if self._closed:
            raise UsageError(SESSION_CLOSED)

    async def connect(self) -> None:
        """Connect, or raise `BusUnreachable` with the reason as soon as every server has refused once."""
        self._closed = False
        await self._reconnect()

    async def _reconnect(self) -> None:
        async with self._lock:
            if not self._closed and not self._client.is_connected:
                await self._connect_client()

    async def _connect_client(self) -> None:
        options, failures = self.options, asyncio.Queue[Exception]()
        client = Client()

        async def on_error(error: Exception) -> None:
            if client is not self._client:
                failures.put_nowait(error)
            self._on_error(error)

        attempt = asyncio.create_task(client.connect(**self._connect_arguments(on_error)))
        try:
            reason = await _first_failure(attempt, failures, len(options.servers), options.connect_timeout)
        except BaseException:
            attempt.cancel()
            raise
        if reason is None and client.is_connected and not self._closed:
            self._client, self._deaf = client, None
            self.clients += 1
            await self._subscribe_inbox()
            self._on_connected()
            return
        attempt.cancel()
        await asyncio.wait({attempt})
        with contextlib.suppress(Exception):
            await client.close()
        reason = reason or "the server closed the connection"
        raise BusUnreachable(options.shown(), reason, is_default=options.is_default)

    def _connect_arguments(self, on_error: Callable[[Exception], Awaitable[None]]) -> dict[str, Any]:
        options = self.options
        arguments: dict[str, Any] = {
            "servers": list(options.servers),
            "name": self._name,
            "error_cb": on_error,
            "disconnected_cb": self._on_disconnected,
            "reconnected_cb": self._on_reconnected,
            "closed_cb": self._on_disconnected,
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": RECONNECT_S,
            "connect_timeout": options.connect_timeout,
            "ping_interval": 5,
            "max_outstanding_pings": 2,
            "pending_size": -1,  # never buffer a write that the caller has given up
            "inbox_prefix": options.inbox_prefix,
            "tls_handshake_first": options.tls_first,
        }
        optional = {
            "token": options.token,
            "user": options.user,
            "password": options.password,
            "user_credentials": options.creds,
            "nkeys_seed": options.nkey,
            "tls": options.tls,
        }
        return arguments | {name: value for name, value in optional.items() if value is not None}

    async def _subscribe_inbox(self) -> None:
        self._inbox = self._client.new_inbox() + "."
        await self._client.subscribe(self._inbox + "*", cb=self._on_reply)

    async def _on_reply(self, msg: Msg) -> None:
        entry = self._waiting.pop(msg.subject.rpartition(".")[2], None)
        if entry and not entry[1].done():
            entry[1].set_result(msg)

    def _on_connected(self) -> None:
        self.generation += 1
        self.connected.set()

    async def _on_reconnected(self) -> None:
        self._on_connected()

    async def _on_disconnected(self) -> None:
        self.connected.clear()
        self._deaf = None
        self._drop_unsent()
        for _, future in self._waiting.values():
            if not future.done():
                future.set_exception(ConnectionDropped())
        self._waiting.clear()
        self._tell(ConnectionDropped())

    def _drop_unsent(self) -> None:
        """nats-py would send what it still holds on the next connection, ahead of what was lost before it."""
        self._client._pending.clear()
        self._client._pending_data_size = 0

    def _on_error(self, error: Exception) -> None:
        found = _DENIED.search(str(error))
        if not found:
            logger.debug("nats: %s", error)
            return
        operation, subject = found.groups()
        logger.warning("nats: %s to %s is not permitted", operation, subject)
        denied = NotPermitted("publish to" if operation == "publish" else "subscribe to", subject)
        if operation == "subscription" and subject == f"{self._inbox}*".lower():
            self._deaf = NotPermitted("subscribe to", f"{self._inbox}*")
        for wanted, future in self._waiting.values():
            if (self._deaf or wanted.lower() == subject) and not future.done():
                future.set_exception(self._deaf or NotPermitted("publish to", wanted))
        self._tell(denied)

    def _tell(self, trouble: ConnectionDropped | NotPermitted) -> None:
        for listener in list(self.on_trouble):
            listener(trouble)

    async def ready(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for a live connection; replaces a client that closed for good."""
        if self._closed:
            return False
        try:
            async with asyncio.timeout(timeout):
                while self._client.is_closed and not self._closed:
                    with contextlib.suppress(BusUnreachable):
                        await self._reconnect()
                        break
                    await asyncio.sleep(RECONNECT_S)
                if not self._client.is_connected:
                    await self.connected.wait()
        except TimeoutError:
            return False
        return not self._closed

    async def request(
        self, subject: str, payload: bytes = b"", *, headers: dict[str, str] | None = None, timeout: float = 2.0
    ) -> Msg:
        """Send a request and return its reply.

        Raises `ConnectionDropped` or ``TimeoutError`` (the outcome is unknown), `NoResponders`, `NotPermitted`,
        `UsageError` when closed.
        """
        self.check_open()
        if self._deaf:
            raise self._deaf
        self._next += 1
        token = str(self._next)
        future: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._waiting[token] = (subject, future)
        try:
            await self._client.publish(subject, payload, reply=self._inbox + token, headers=headers)
            async with asyncio.timeout(timeout):
                reply = await future
        except (errors.OutboundBufferLimitError, errors.ConnectionClosedError, OSError) as error:
            if isinstance(error, (TimeoutError, PermissionError)):
                raise
            raise ConnectionDropped from error
        finally:
            self._waiting.pop(token, None)
        if reply.headers and reply.headers.get("Status") == "503":
            raise NoResponders(subject)
        return reply

    async def send(self, subject: str, payload: bytes = b"", *, reply: str = "") -> None:
        """Publish without waiting (acknowledgements of deliveries, pull requests); raises `ConnectionDropped`."""
        self.check_open()
        try:
            await self._client.publish(subject, payload, reply=reply)
        except (errors.OutboundBufferLimitError, errors.ConnectionClosedError, OSError) as error:
            raise ConnectionDropped from error

    async def subscribe(self, subject: str, on_message: Callable[[Msg], Awaitable[None]]) -> Subscription:
        """Subscribe to a core subject; raises `ConnectionDropped`."""
        self.check_open()
        try:
            return await self._client.subscribe(subject, cb=on_message, pending_msgs_limit=0, pending_bytes_limit=0)
        except (errors.ConnectionClosedError, OSError) as error:
            raise ConnectionDropped from error

    @property
    def client(self) -> Client:
        """nats-py's client of this connection, for what has no verb here; another one when `clients` has changed."""
        return self._client

    def new_inbox(self) -> str:
        """A fresh subject for replies."""
        return self._client.new_inbox()

    @property
    def max_payload(self) -> int:
        """Bytes that the server takes in one message."""
        return int(self._client.max_payload)

    @property
    def server_version(self) -> str:
        """Version of the server we are connected to, as ``2.15.1``."""
        return str(self._client._server_info.get("version", ""))

    @property
    def url(self) -> str:
        """The server we are connected to, without its secrets."""
        netloc = self._client.connected_url
        return f"nats://{netloc.hostname}:{netloc.port}" if netloc else self.options.shown()

    async def close(self) -> None:
        """Flush what was sent and close; idempotent."""
        self._closed = True
        with contextlib.suppress(Exception):
            if self._client.is_connected:
                await self._client.flush(timeout=2)
        with contextlib.suppress(Exception):
            await self._client.close()


async def _first_failure(
    attempt: asyncio.Task[None], failures: asyncio.Queue[Exception], servers: int, timeout: float
) -> str | None:
    """Wait for a first connection: ``None`` when it is made, else why not, once each server failed or time is up."""
    refused: list[str] = []
    deadline = asyncio.get_running_loop().time() + timeout
    while True:
        failure = asyncio.create_task(failures.get())
        left = max(0.0, deadline - asyncio.get_running_loop().time())
        await asyncio.wait({attempt, failure}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if attempt.done():
            failure.cancel()
            error = attempt.exception()
            return None if error is None else _reason(error)
        if not failure.done():
            failure.cancel()
            return "; ".join(refused) or f"no answer within {timeout:g} s"
        refused.append(_reason(failure.result()))
        if len(refused) >= servers:
            return refused[-1]


def _reason(error: BaseException) -> str:
    text = str(error).removeprefix("nats: ").strip("'")
    return text or type(error).__name__
