"""nats-server with JetStream: configuration, and ready when its health check says so."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from tracecraft_stack import binaries
from tracecraft_stack.child import Command
from tracecraft_stack.environment import bare_environment
from tracecraft_stack.files import make_folder, write_private
from tracecraft_stack.options import Durability
from tracecraft_stack.ports import LOOPBACK, free_port
from tracecraft_stack.server import Server, http_get, http_status

if TYPE_CHECKING:
    from pathlib import Path

MAX_CONSUMERS: Final = 20_000
"""Consumers a stream may have: every agent has one on the log. nats-server 2.15 stops at 1000 unless told."""

SYNC_INTERVAL: Final = {Durability.INTERVAL: "1s", Durability.DURABLE: "always"}
"""fsync once a second, or before every acknowledgement."""


BROKEN_DISK: Final = ("write error", "no space left", "jetstream not enabled")
"""What /healthz says, among else, of a stream whose disk failed a write: it refuses all others until a restart."""


class NatsServer(Server):
    """One nats-server on loopback. ``with NatsServer(folder) as nats: connect(nats.url)`` takes about 50 ms.

    Args:
        folder: holds its configuration and its store.
        port: of the clients; 0 takes a free one, which it keeps over restarts.
        monitor_port: of the HTTP monitoring; 0 likewise.
        token: what clients must show; ``None`` lets everybody in, unless ``extra_config`` has users.
        durability: ``interval`` (fsync every second) or ``durable`` (before every acknowledgement).
        jetstream: more settings for the ``jetstream`` block, as ``max_file_store: 1MB``.
        extra_config: more configuration, as ``authorization { users: [...] }`` or ``cluster { ... }``.
    """

    name = "nats"

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        monitor_port: int = 0,
        token: str | None = None,
        durability: Durability | str = Durability.INTERVAL,
        server_name: str = "tracecraft",
        jetstream: str = "",
        extra_config: str = "",
        log: Path | None = None,
        record: Path | None = None,
    ) -> None:
        super().__init__(folder, log=log, record=record)
        self.port = port or free_port()
        self.monitor_port = monitor_port or free_port({self.port})
        self.token = token
        self.durability = Durability(durability)
        self.server_name = server_name
        self.jetstream, self.extra_config = jetstream, extra_config

    @property
    def url(self) -> str:
        """``nats://<token>@127.0.0.1:<port>``: hand it to any client, do not log it."""
        return f"nats://{self.token}@{LOOPBACK}:{self.port}" if self.token else f"nats://{LOOPBACK}:{self.port}"

    @property
    def monitor_url(self) -> str:
        """``http://127.0.0.1:<port>`` with /healthz, /varz, /jsz."""
        return f"http://{LOOPBACK}:{self.monitor_port}"

    def prepare(self) -> None:
        """Writes nats.conf; its mode is 600 because of the token."""
        make_folder(self.folder / "store")
        write_private(self.folder / "nats.conf", self._config())

    def command(self) -> Command:
        """``nats-server -c nats.conf``."""
        argv = (binaries.nats_server(), "-c", self.folder / "nats.conf")
        return Command(argv=argv, env=bare_environment(self.folder), cwd=self.folder)

    def is_ready(self) -> bool:
        """/healthz is ok once every stream and consumer is recovered."""
        return http_status(self.monitor_port, "/healthz") == 200

    def ailment(self) -> str:
        """The error of /healthz when the disk has failed a write."""
        return broken_disk(*http_get(self.monitor_port, "/healthz"))

    def listens_on(self) -> tuple[int, ...]:
        """Clients and monitoring."""
        return self.port, self.monitor_port

    def _config(self) -> str:
        authorization = f"authorization {{ token: {json.dumps(self.token)} }}" if self.token else ""
        return f"""\
# Written by tracecraft at every start.
server_name: {json.dumps(self.server_name)}
listen: "{LOOPBACK}:{self.port}"
http: "{LOOPBACK}:{self.monitor_port}"
max_payload: 1MB
{authorization}
jetstream {{
  store_dir: {json.dumps(str(self.folder / "store"))}
  sync_interval: "{SYNC_INTERVAL[self.durability]}"
  limits {{ default_max_consumers: {MAX_CONSUMERS} }}
  {self.jetstream}
}}
{self.extra_config}
"""


def broken_disk(status: int, body: bytes) -> str:
    """The error in an answer of /healthz, if it is one of the disk, without the names of files; else nothing."""
    if status in (0, 200):
        return ""
    try:
        said = str(json.loads(body).get("error", ""))
    except (ValueError, AttributeError):
        return ""
    if not any(sign in said.lower() for sign in BROKEN_DISK):
        return ""
    what, _, rest = said.partition(": ")
    return f"{what}: {rest.rpartition(': ')[2]}" if rest else what
