"""Objects by key, in any S3: boto3 in threads of its own, so that the loop never waits for it."""

from __future__ import annotations

import asyncio
import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote

from tracecraft_bridge.artifacts.client import (
    BLOCK,
    CONFIRM_S,
    THREADS,
    Reading,
    ensure_bucket,
    make_client,
    probe,
    put_file,
    translated,
)
from tracecraft_bridge.artifacts.errors import ObjectDamaged, ObjectMissing, StoreAway

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from mypy_boto3_s3 import S3Client

    from tracecraft_bridge.artifacts.settings import StoreSettings

_R = TypeVar("_R")

MEDIA_TYPE: Final = "application/octet-stream"
_DELETE_AT_ONCE: Final = 1000
"""What S3 allows."""


@dataclass(frozen=True, slots=True)
class SignedUrl:
    """An address that opens one object by one method, until ``expires`` (RFC 3339)."""

    url: str
    expires: str


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a multipart upload that has arrived."""

    number: int
    size: int
    etag: str


class ObjectStore:
    """The bucket. Every method but `close` raises `StoreAway`, and `ObjectMissing` where there must be something.

    Those that read raise `ObjectDamaged` when the store is well and does not give this object, and never try for long.

    Args:
        settings: ``None``: there is no store, and every method says what to set.
    """

    def __init__(self, settings: StoreSettings | None) -> None:
        self._settings = settings
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="artifact store")
        self._lock = threading.Lock()
        self._client: S3Client | None = None
        self._signer: S3Client | None = None
        self._reader: S3Client | None = None
        self._impatient: S3Client | None = None
        self._has_bucket = False

    async def put(self, key: str, source: bytes | Path, media_type: str = MEDIA_TYPE) -> None:
        """Write an object, a large file in parts."""

        def work(client: S3Client, bucket: str) -> None:
            if isinstance(source, Path):
                put_file(client, bucket, key, str(source), media_type)
            else:
                client.put_object(Bucket=bucket, Key=key, Body=source, ContentType=media_type)

        await self._call(key, work)

    async def get(self, key: str) -> bytes:
        """A whole object; it must fit into memory."""

        def work(_: S3Client, bucket: str) -> bytes:
            return self._reading().get_object(Bucket=bucket, Key=key)["Body"].read()

        return await self._careful(key, lambda: 0, lambda: self._call(key, work))

    async def range(self, key: str, first: int, length: int) -> bytes:
        """Bytes from ``first`` on, fewer than ``length`` at the end of the object."""

        def work(_: S3Client, bucket: str) -> bytes:
            wanted = f"bytes={first}-{first + length - 1}"
            return self._reading().get_object(Bucket=bucket, Key=key, Range=wanted)["Body"].read()

        return await self._careful(key, lambda: first, lambda: self._call(key, work))

    async def size(self, key: str) -> int | None:
        """Bytes; ``None`` when nothing lies there."""
        try:
            return await self._call(key, lambda c, bucket: c.head_object(Bucket=bucket, Key=key)["ContentLength"])
        except ObjectMissing:
            return None

    async def hash(self, key: str) -> tuple[str, int]:
        """SHA-256 and size of what lies there, read through with flat memory."""
        reading = Reading()

        async def attempt() -> tuple[str, int]:
            nonlocal reading
            reading = Reading()
            return await self._call(key, lambda _, bucket: reading.run(self._reading(), bucket, key))

        return await self._careful(key, lambda: reading.size, attempt)

    async def gives(self, key: str, first: int = 0) -> bool:
        """Whether it gives the bytes from ``first`` on within a few seconds, while it gives others (else `StoreAway`).

        For an object of which a read has just failed: SeaweedFS answers 500 when a byte on its disk is not what it was.
        """

        def work(_: S3Client, bucket: str) -> None:
            wanted = f"bytes={first}-{first + 2 * BLOCK - 1}"
            self._confirming().get_object(Bucket=bucket, Key=key, Range=wanted)["Body"].read()

        try:
            await self._call(key, work)
        except StoreAway:
            await self._call(key, probe)
            return False
        return True

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; one that is not there is no error."""

        def work(client: S3Client, bucket: str) -> None:
            for start in range(0, len(keys), _DELETE_AT_ONCE):
                objects = [{"Key": key} for key in keys[start : start + _DELETE_AT_ONCE]]
                failed = client.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True}).get("Errors")  # type: ignore[typeddict-item]
                if failed:
                    raise StoreAway(f"the artifact store did not delete {failed[0]}")

        if keys:
            await self._call(keys[0], work)

    async def begin_parts(self, key: str, media_type: str = MEDIA_TYPE) -> str:
        """Begin a multipart upload; returns its id."""

        def work(client: S3Client, bucket: str) -> str:
            return client.create_multipart_upload(Bucket=bucket, Key=key, ContentType=media_type)["UploadId"]

        return await self._call(key, work)

    async def parts(self, key: str, upload: str) -> list[Part]:
        """The parts that are there. Raises `ObjectMissing` when the upload is over."""

        def work(client: S3Client, bucket: str) -> list[Part]:
            pages = client.get_paginator("list_parts").paginate(Bucket=bucket, Key=key, UploadId=upload)
            return [Part(p["PartNumber"], p["Size"], p["ETag"]) for page in pages for p in page.get("Parts", [])]

        return await self._call(key, work)

    async def complete(self, key: str, upload: str, parts: Sequence[Part]) -> None:
        """Make one object of the parts; their URLs are worth nothing from then on."""
        listed: Any = [{"PartNumber": part.number, "ETag": part.etag} for part in parts]

        def work(client: S3Client, bucket: str) -> None:
            client.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": listed})

        await self._call(key, work)

    async def abort(self, key: str, upload: str) -> None:
        """Give up a multipart upload and what of it is there; one that is over is no error."""
        try:
            await self._call(
                key, lambda client, bucket: client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
            )
        except ObjectMissing:
            return

    async def get_url(self, key: str, *, name: str | None = None, media_type: str | None = None) -> SignedUrl:
        """Where to GET an object; a browser saves it as ``name``."""
        wanted: dict[str, Any] = {"Key": key}
        if name is not None:
            wanted["ResponseContentDisposition"] = f"attachment; filename*=UTF-8''{_quoted(name)}"
        if media_type is not None:
            wanted["ResponseContentType"] = media_type
        return (await self._sign("get_object", [wanted]))[0]

    async def put_url(self, key: str, size: int) -> SignedUrl:
        """Where to PUT exactly so many bytes, once: what lies there is not replaced (header `PUT_HEADERS`)."""
        return (await self._sign("put_object", [{"Key": key, "ContentLength": size, "IfNoneMatch": "*"}]))[0]

    async def part_urls(self, key: str, upload: str, sizes: dict[int, int]) -> dict[int, SignedUrl]:
        """Where to PUT parts, by number, of exactly these sizes."""
        wanted = [
            {"Key": key, "UploadId": upload, "PartNumber": number, "ContentLength": size}
            for number, size in sizes.items()
        ]
        return dict(zip(sizes, await self._sign("upload_part", wanted), strict=True))

    def close(self) -> None:
        """End the threads after what they are doing."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _sign(self, operation: str, wanted: list[dict[str, Any]]) -> list[SignedUrl]:
        def work(_: S3Client, bucket: str) -> list[SignedUrl]:
            settings, signer = self._needed(), self._signing()
            until = datetime.now(UTC) + timedelta(seconds=settings.url_seconds)
            return [
                SignedUrl(
                    signer.generate_presigned_url(
                        operation, Params={"Bucket": bucket, **one}, ExpiresIn=int(settings.url_seconds)
                    ),
                    until.isoformat(timespec="microseconds").replace("+00:00", "Z"),
                )
                for one in wanted
            ]

        return await self._call(wanted[0]["Key"], work)

    async def _careful(self, key: str, place: Callable[[], int], attempt: Callable[[], Awaitable[_R]]) -> _R:
        """A read, once more when it failed in passing. ``place``: the byte up to which it came."""
        try:
            return await attempt()
        except StoreAway:
            if not await self.gives(key, place()):
                raise ObjectDamaged(key) from None
        return await attempt()

    async def _call(self, name: str, work: Callable[[S3Client, str], _R]) -> _R:
        self._needed()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, functools.partial(self._in_thread, name, work))

    def _in_thread(self, name: str, work: Callable[[S3Client, str], _R]) -> _R:
        try:
            with translated(name):
                return work(self._ready(), self._needed().bucket)
        except StoreAway:
            self._has_bucket = False  # it may come back as an empty one
            raise

    def _needed(self) -> StoreSettings:
        if self._settings is None:
            raise StoreAway(
                "this bridge has no artifact store",
                "set TRACECRAFT_S3_ENDPOINT, _ACCESS_KEY and _SECRET_KEY for it, or use 'tracecraft serve'",
            )
        return self._settings

    def _ready(self) -> S3Client:
        settings = self._needed()
        with self._lock:
            if self._client is None:
                self._client = make_client(settings, settings.endpoint)
            if not self._has_bucket:
                ensure_bucket(self._client, settings.bucket)
                self._has_bucket = True
            return self._client

    def _reading(self) -> S3Client:
        """Tries once: who reads decides what a failure means."""
        settings = self._needed()
        with self._lock:
            self._reader = self._reader or make_client(settings, settings.endpoint, attempts=1)
            return self._reader

    def _confirming(self) -> S3Client:
        """Tries once and not for long."""
        settings = self._needed()
        with self._lock:
            self._impatient = self._impatient or make_client(settings, settings.endpoint, attempts=1, read_s=CONFIRM_S)
            return self._impatient

    def _signing(self) -> S3Client:
        """The host is part of the signature: clients may know the store by another one."""
        settings = self._needed()
        with self._lock:
            if self._signer is None:
                same = settings.public_endpoint == settings.endpoint
                self._signer = self._client if same else make_client(settings, settings.public_endpoint)
            assert self._signer is not None
            return self._signer


PUT_HEADERS: Final = {"If-None-Match": "*"}
"""To be sent with a PUT to `ObjectStore.put_url`."""


def _quoted(name: str) -> str:
    return quote(name.rpartition("/")[2], safe="")
