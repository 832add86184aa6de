"""SeaweedFS that a test may hurt, and bridges that keep files there."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.bridge import Rig
from tests.support.folder import short_lived_folder
from tracecraft import AsyncSession
from tracecraft_stack.nats_server import NatsServer
from tracecraft_stack.ports import free_port
from tracecraft_stack.seaweedfs import PARTS, SeaweedServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from tracecraft_stack.postgres import PostgresServer


class FileRig(NamedTuple):
    """Servers, a bridge and a bucket."""

    rig: Rig
    seaweed: SeaweedServer
    bucket: str

    def session(self, project: str, agent: str = "alice") -> AsyncSession:
        """A session that is not open yet."""
        return AsyncSession(server=self.rig.nats.url, project=project, agent=agent)

    def objects(self) -> dict[str, int]:
        """Sizes of all objects, by key."""
        pages = s3(self.seaweed).get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return {found["Key"]: found["Size"] for page in pages for found in page.get("Contents", [])}

    def replace(self, sha256: str, content: bytes) -> None:
        """Put another content where this one lies, as a broken disk would."""
        [(key,)] = self.rig.query("SELECT object_key FROM blob WHERE sha256 = %s", sha256)
        s3(self.seaweed).put_object(Bucket=self.bucket, Key=key, Body=content)

    def flip(self, content: bytes) -> None:
        """Turn a bit of a content on the store's disk, in the last block of it."""
        needle = content[-64:]
        [(path, at)] = [
            (path, path.read_bytes().index(needle))
            for path in self.seaweed.folder.rglob("*.dat")
            if needle in path.read_bytes()
        ]
        with path.open("r+b") as file:
            file.seek(at)
            file.write(bytes([needle[0] ^ 1]))

    def remove(self, sha256: str) -> None:
        """Lose a content behind the bridge's back."""
        [(key,)] = self.rig.query("SELECT object_key FROM blob WHERE sha256 = %s", sha256)
        s3(self.seaweed).delete_object(Bucket=self.bucket, Key=key)


def s3(seaweed: SeaweedServer) -> S3Client:
    """A client of the store with all rights."""
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=seaweed.endpoint,
        region_name="us-east-1",
        aws_access_key_id=seaweed.access_key,
        aws_secret_access_key=seaweed.secret_key,
    )


def store_settings(seaweed: SeaweedServer, bucket: str, **more: str) -> dict[str, str]:
    """Settings of a bridge, for `Rig.start`."""
    own = {"s3_endpoint": seaweed.endpoint, "s3_access_key": seaweed.access_key, "s3_secret_key": seaweed.secret_key}
    return {**own, "s3_bucket": bucket, **more}


def seaweed_server(folder: Path) -> SeaweedServer:
    """SeaweedFS on free ports, not started; it is stopped without patience."""
    ports = {"s3": free_port()}
    for part in PARTS:
        ports |= {f"seaweed_{part}": free_port(), f"seaweed_{part}_grpc": free_port()}
    return SeaweedServer(
        folder / "seaweed",
        ports=ports,
        patient=False,
        access_key=secrets.token_hex(12),
        secret_key=secrets.token_hex(12),
        signing_key=secrets.token_hex(12),
    )


@pytest.fixture(scope="session")
def seaweed() -> Iterator[SeaweedServer]:
    """SeaweedFS for the tests of files; a test that kills it starts it again."""
    with short_lived_folder() as folder, seaweed_server(folder) as server:
        yield server


@pytest.fixture(scope="module")
def file_rig(bridge_postgres: PostgresServer, seaweed: SeaweedServer) -> Iterator[FileRig]:
    """A bridge with an artifact store for one test file; its sessions have a project for each test."""
    with short_lived_folder() as folder, NatsServer(folder / "nats", token=secrets.token_hex(8)) as nats:
        rig = Rig(folder, nats, bridge_postgres)
        bucket = f"b{secrets.token_hex(4)}"
        rig.start(**store_settings(seaweed, bucket))
        try:
            yield FileRig(rig, seaweed, bucket)
        finally:
            for bridge in rig.bridges:
                bridge.kill()
