"""SeaweedFS with its S3 gateway on loopback: one process, nothing preallocated, ready when it can take an object."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from tracecraft_stack import binaries
from tracecraft_stack.child import Command
from tracecraft_stack.environment import bare_environment
from tracecraft_stack.files import make_folder, write_private
from tracecraft_stack.ports import LOOPBACK
from tracecraft_stack.server import Server, http_get, http_status

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

VOLUME_MB: Final = 256
"""Size of a volume. ``-volume.max=0`` allows free disk / this many volumes; they grow with their content."""

GROWTH: Final = "[master.volume_growth]\ncopy_1 = 1\n"
"""A new bucket takes one volume, not seven: on a small disk the second bucket would end in InternalError."""

GARBAGE: Final = 0.1
"""Share of deleted bytes in a volume from which on it is written anew without them. SeaweedFS's own default keeps 0.3
for up to 14 minutes: of a deleted gigabyte the disk would see nothing for as long, and of a third of a volume never."""

VACUUM_S: Final = 60
"""Seconds between two looks for such volumes, to which SeaweedFS adds up to 120; a look costs the master 3 ms."""

PARTS: Final = ("master", "volume", "filer", "s3")


class SeaweedServer(Server):
    """``weed server`` with filer and S3.

    The HTTP ports of volumes and filer want tokens signed with a generated key, and the master's is switched off: it
    would delete a bucket for whoever asks. So only holders of the S3 keys get at data; its gRPC ports on loopback are
    open to other users of the machine.

    Args:
        folder: holds configuration and data.
        ports: ``s3``, ``seaweed_master``, ``seaweed_volume``, ``seaweed_filer`` and the same with ``_grpc`` (s3:
            ``seaweed_s3_grpc``). The master keeps state under its port number: keep it over restarts.
        access_key, secret_key: the one S3 identity, which may do everything.
        signing_key: any secret.
        patient: stop gracefully, which takes SeaweedFS 15 s; ``False`` kills it after one second.
    """

    name = "seaweedfs"

    def __init__(
        self,
        folder: Path,
        *,
        ports: Mapping[str, int],
        access_key: str,
        secret_key: str,
        signing_key: str,
        patient: bool = True,
        log: Path | None = None,
        record: Path | None = None,
    ) -> None:
        super().__init__(folder, log=log, record=record)
        self._http = {part: ports["s3" if part == "s3" else f"seaweed_{part}"] for part in PARTS}
        self._grpc = {part: ports[f"seaweed_{part}_grpc"] for part in PARTS}
        self.access_key, self.secret_key, self._signing_key = access_key, secret_key, signing_key
        self.stop_patience = 25.0 if patient else 1.0

    @property
    def endpoint(self) -> str:
        """The S3 endpoint."""
        return f"http://{LOOPBACK}:{self._http['s3']}"

    @property
    def master(self) -> str:
        """Where ``weed shell`` finds the master, who looks after the volumes."""
        return f"{LOOPBACK}:{self._http['master']}.{self._grpc['master']}"

    def prepare(self) -> None:
        """Writes the S3 identity, the signing keys and the growth of volumes; weed reads them from its folder."""
        make_folder(self.folder / "data")
        write_private(self.folder / "s3.json", json.dumps(self._identities()))
        write_private(self.folder / "security.toml", self._security())
        write_private(self.folder / "master.toml", GROWTH)

    def command(self) -> Command:
        """``weed server`` with every port named: it would add 10000 for the gRPC ones."""
        ports = [f"-{part}.port={port}" for part, port in self._http.items()]
        ports += [f"-{part}.port.grpc={port}" for part, port in self._grpc.items()]
        argv: list[str | Path] = [
            *(binaries.weed(), "server", f"-dir={self.folder / 'data'}", f"-ip={LOOPBACK}", f"-ip.bind={LOOPBACK}"),
            *("-disableHttp", "-filer", "-s3", f"-s3.config={self.folder / 's3.json'}"),
            *("-s3.port.iceberg=0", "-s3.port.lance=0"),
            *(f"-master.garbageThreshold={GARBAGE}", f"-master.vacuumIntervalSeconds={VACUUM_S}"),
            *("-volume.max=0", f"-master.volumeSizeLimitMB={VOLUME_MB}", "-volume.preStopSeconds=0"),
            # Alone it elects itself; with the default of 10 s every later start takes 10 s longer than the first.
            *("-master.electionTimeout=300ms", "-master.heartbeatInterval=100ms", "-master.telemetry=false"),
            *ports,
        ]
        return Command(argv=argv, env=bare_environment(self.folder), cwd=self.folder)

    def is_ready(self) -> bool:
        """S3 answers, and the master knows a volume server with room."""
        return http_status(self._http["s3"], "/healthz") == 200 and self._has_room()

    def listens_on(self) -> tuple[int, ...]:
        """Eight ports, HTTP and gRPC."""
        return *self._http.values(), *self._grpc.values()

    def _has_room(self) -> bool:
        """Whether the volume server has told the master, who has elected itself, what it can hold."""
        status, body = http_get(self._http["master"], "/cluster/status")
        leads = status == 200 and json.loads(body).get("IsLeader") is True
        return leads and http_status(self._http["volume"], "/healthz") == 200

    def _identities(self) -> object:
        keys = {"accessKey": self.access_key, "secretKey": self.secret_key}
        rights = ["Admin", "Read", "Write", "List", "Tagging"]
        return {"identities": [{"name": "tracecraft", "credentials": [keys], "actions": rights}]}

    def _security(self) -> str:
        sections = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
        return "\n".join(
            f"[{name}]\nkey = {json.dumps(f'{self._signing_key}.{name}')}\nexpires_after_seconds = 60\n"
            for name in sections
        )
