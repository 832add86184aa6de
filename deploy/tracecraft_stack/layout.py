"""Where everything is in the data folder, and the secrets and ports that stay the same over restarts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from tracecraft_stack import child
from tracecraft_stack.files import make_folder, require_space, secret, write_private
from tracecraft_stack.ports import choose_ports

if TYPE_CHECKING:
    from pathlib import Path

    from tracecraft_stack.options import StackOptions

STOP_ORDER: Final = ("bridge", "nats", "postgres", "seaweedfs")
"""The bridge goes first, so that it can say goodbye to the others; SeaweedFS takes longest."""

ORPHAN_PATIENCE_S: Final = 25.0


@dataclass(frozen=True, slots=True)
class Layout:
    """The data folder of a stack: ``nats postgres seaweedfs bridge``, ``logs``, ``run`` and ``secrets`` in it."""

    data: Path

    def make(self) -> None:
        """Makes the folders, private. Root's own is open for passing through: PostgreSQL runs as another account."""
        make_folder(self.data, 0o711 if os.geteuid() == 0 else 0o700)
        for folder in ("logs", "run", "secrets"):
            make_folder(self.data / folder)
        require_space(self.data)

    def home(self, server: str) -> Path:
        """The folder of one server."""
        return self.data / server

    def log(self, server: str) -> Path:
        """What a server has said."""
        return self.data / "logs" / f"{server}.log"

    def record(self, server: str) -> Path:
        """Which process a server is."""
        return self.data / "run" / f"{server}.json"

    def secret(self, name: str) -> str:
        """A generated secret, in a file of mode 600."""
        return secret(self.data / "secrets" / name)

    def ports(self, options: StackOptions) -> dict[str, int]:
        """The ports of this life; remembered, so that the URLs are the same in the next."""
        fixed = {
            "nats": options.nats_port,
            "nats_monitor": options.monitor_port,
            "postgres": options.postgres_port,
            "s3": options.s3_port,
            "bridge": options.bridge_port,
        }
        memory = self.data / "ports.json"
        chosen = choose_ports(fixed, _read_ports(memory))
        write_private(memory, msgspec.json.encode(chosen))
        return chosen

    def stop_orphans(self) -> list[str]:
        """Stops what a killed supervisor has left behind; the names of the servers."""
        return [name for name in STOP_ORDER if child.stop_orphan(self.record(name), ORPHAN_PATIENCE_S)]


def _read_ports(memory: Path) -> dict[str, int]:
    try:
        return msgspec.json.decode(memory.read_bytes(), type=dict[str, int])
    except (OSError, msgspec.MsgspecError):
        return {}
