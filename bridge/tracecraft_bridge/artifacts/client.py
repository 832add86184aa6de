"""The one boto3 client: made when it is first needed, its errors translated."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from tracecraft_bridge.artifacts.errors import ObjectMissing, StoreAway
from tracecraft_core import ids

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client

    from tracecraft_bridge.artifacts.settings import StoreSettings

THREADS: Final = 8
"""Calls to the store at once; each has a connection."""
CONNECT_S: Final = 3
READ_S: Final = 30
"""Seconds without a byte after which the store counts as away."""
ATTEMPTS: Final = 2
CONFIRM_S: Final = 3
"""Seconds without a byte after which one that failed before counts as failed again: SeaweedFS tries for 13 s itself."""
BLOCK: Final = 1 << 20
"""Bytes read at a time."""

_GONE: Final = frozenset({"404", "NoSuchKey", "NoSuchUpload", "NotFound"})
_OURS: Final = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists"})


def make_client(
    settings: StoreSettings, endpoint: str, *, attempts: int = ATTEMPTS, read_s: float = READ_S
) -> S3Client:
    """A client; takes some 300 ms, which boto3 needs to read its models. May be used by several threads."""
    import boto3
    from botocore.config import Config

    # A session of its own: boto3's default one reads files and variables of whoever started the bridge.
    session = boto3.session.Session(
        aws_access_key_id=settings.access_key, aws_secret_access_key=settings.secret_key, region_name=settings.region
    )
    return session.client(
        "s3",
        endpoint_url=endpoint,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            connect_timeout=CONNECT_S,
            read_timeout=read_s,
            max_pool_connections=THREADS,
            retries={"total_max_attempts": attempts, "mode": "standard"},
            # Checksums of newer S3 that others may not know: we compare hashes of our own.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def ensure_bucket(client: S3Client, bucket: str) -> None:
    """Make the bucket unless it is there."""
    from botocore.exceptions import ClientError

    try:
        client.create_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] not in _OURS:
            raise


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Turn what boto3 raises about an object into `ObjectMissing` or `StoreAway`."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ClientError as error:
        code = str(error.response["Error"].get("Code"))
        if code in _GONE:
            raise ObjectMissing(name) from None
        message = error.response["Error"].get("Message") or code
        raise StoreAway(f"the artifact store refuses {error.operation_name} ({code}: {message})") from error
    except (Boto3Error, BotoCoreError, HTTPError, OSError) as error:
        raise StoreAway(f"the artifact store does not answer ({error})") from error


def put_file(client: S3Client, bucket: str, key: str, path: str, media_type: str) -> None:
    """Write a local file, a large one in parts, two at a time."""
    from boto3.s3.transfer import TransferConfig

    plan = TransferConfig(multipart_threshold=32 << 20, multipart_chunksize=16 << 20, max_concurrency=2)
    client.upload_file(path, bucket, key, ExtraArgs={"ContentType": media_type}, Config=plan)


def probe(client: S3Client, bucket: str) -> None:
    """Write an object, read it back and remove it: then the store is well."""
    key = f"probe/{ids.fresh()}"
    client.put_object(Bucket=bucket, Key=key, Body=b"well")
    try:
        client.get_object(Bucket=bucket, Key=key)["Body"].read()
    finally:
        client.delete_object(Bucket=bucket, Key=key)


class Reading:
    """An object read through once, with one block in memory; attribute ``size``, bytes so far."""

    def __init__(self) -> None:
        self._digest, self.size = hashlib.sha256(), 0

    def run(self, client: S3Client, bucket: str, key: str) -> tuple[str, int]:
        """SHA-256 and size."""
        body = client.get_object(Bucket=bucket, Key=key)["Body"]
        try:
            while data := body.read(BLOCK):
                self._digest.update(data)
                self.size += len(data)
        finally:
            body.close()
        return self._digest.hexdigest(), self.size
