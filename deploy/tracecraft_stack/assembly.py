"""Puts the servers of a stack together: which ones, on which ports, with which secrets."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracecraft_core.local import StackState
from tracecraft_stack.bridge import BridgeServer
from tracecraft_stack.identity import myself
from tracecraft_stack.nats_server import NatsServer
from tracecraft_stack.postgres import PostgresServer
from tracecraft_stack.seaweedfs import SeaweedServer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracecraft_stack.layout import Layout
    from tracecraft_stack.options import StackOptions
    from tracecraft_stack.server import Server


@dataclass(frozen=True, slots=True)
class Servers:
    """The servers of one stack; those that the options leave out are ``None``."""

    nats: NatsServer
    postgres: PostgresServer | None
    seaweedfs: SeaweedServer | None
    bridge: BridgeServer | None

    def in_stop_order(self) -> list[Server]:
        """The bridge first, so that it can say goodbye to the others; SeaweedFS, the slowest, last."""
        return [server for server in (self.bridge, self.nats, self.postgres, self.seaweedfs) if server is not None]

    def describe(self, layout: Layout, options: StackOptions) -> StackState:
        """The state file: where everything is."""
        process = myself()
        return StackState(
            pid=process.pid,
            pid_started=process.created,
            data=str(layout.data),
            nats_url=self.nats.url,
            nats_monitor_url=self.nats.monitor_url,
            postgres_dsn=self.postgres.dsn if self.postgres else "",
            s3_endpoint=self.seaweedfs.endpoint if self.seaweedfs else "",
            s3_access_key=self.seaweedfs.access_key if self.seaweedfs else "",
            s3_secret_key=self.seaweedfs.secret_key if self.seaweedfs else "",
            bridge_url=self.bridge.url if self.bridge else "",
            otlp_url=self.bridge.otlp_url if self.bridge else "",
            otlp_token=self.bridge.otlp_token if self.bridge else "",
            durability=str(options.durability),
            started=time.time(),
        )


def assemble(layout: Layout, options: StackOptions) -> Servers:
    """The servers of a data folder, none of them started."""
    ports = layout.ports(options)
    nats = NatsServer(
        layout.home("nats"),
        port=ports["nats"],
        monitor_port=ports["nats_monitor"],
        token=layout.secret("nats_token"),
        durability=options.durability,
        log=layout.log("nats"),
        record=layout.record("nats"),
    )
    postgres = _postgres(layout, options, ports) if options.postgres else None
    seaweedfs = _seaweedfs(layout, options, ports) if options.artifacts else None
    bridge = _bridge(layout, ports, nats, postgres, seaweedfs) if options.bridge and postgres else None
    return Servers(nats, postgres, seaweedfs, bridge)


def _postgres(layout: Layout, options: StackOptions, ports: Mapping[str, int]) -> PostgresServer:
    return PostgresServer(
        layout.home("postgres"),
        port=ports["postgres"],
        password=layout.secret("postgres_password"),
        fsync=options.fsync,
        log=layout.log("postgres"),
        record=layout.record("postgres"),
    )


def _seaweedfs(layout: Layout, options: StackOptions, ports: Mapping[str, int]) -> SeaweedServer:
    return SeaweedServer(
        layout.home("seaweedfs"),
        ports=ports,
        access_key=layout.secret("s3_access_key"),
        secret_key=layout.secret("s3_secret_key"),
        signing_key=layout.secret("seaweedfs_signing_key"),
        patient=options.fsync,
        log=layout.log("seaweedfs"),
        record=layout.record("seaweedfs"),
    )


def _bridge(
    layout: Layout,
    ports: Mapping[str, int],
    nats: NatsServer,
    postgres: PostgresServer,
    seaweedfs: SeaweedServer | None,
) -> BridgeServer:
    settings = {
        "TRACECRAFT_SERVER": nats.url,
        "TRACECRAFT_POSTGRES": postgres.dsn,
        "TRACECRAFT_OTLP_TOKEN": layout.secret("otlp_token"),
    }
    if seaweedfs is not None:
        settings |= {
            "TRACECRAFT_S3_ENDPOINT": seaweedfs.endpoint,
            "TRACECRAFT_S3_ACCESS_KEY": seaweedfs.access_key,
            "TRACECRAFT_S3_SECRET_KEY": seaweedfs.secret_key,
        }
    return BridgeServer(
        layout.home("bridge"),
        settings=settings,
        port=ports["bridge"],
        otlp_port=ports["otlp"],
        log=layout.log("bridge"),
        record=layout.record("bridge"),
    )
