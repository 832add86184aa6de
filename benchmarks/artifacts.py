"""1 GiB into the artifact store and back: MB/s and memory, against a plain boto3 put and get in the same run."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import psutil

from tracecraft import AsyncSession, artifacts
from tracecraft_core.queries import GetQuestion
from tracecraft_stack import Stack, StackOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracecraft_core.local import StackState

SIZE = int(os.environ.get("BENCH_MIB", "1024")) << 20
BLOCK = 1 << 20


def main(_: list[str]) -> None:
    """Ours and boto3 in turn, twice; each upload is of new content."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Stack(StackOptions(data=folder / "stack")) as stack:
            for _turn in range(2):
                _write(folder / "file")
                asyncio.run(_ours(stack.state, folder))
                _plain(stack.state, folder)


async def _ours(state: StackState, folder: Path) -> None:
    bridge = next(process for process in psutil.process_iter(["cmdline"]) if _is_bridge(process, state))
    async with AsyncSession(server=state.nats_url, project="bench", agent="bench") as session:
        before, bridge_before, start = _rss(), bridge.memory_info().rss, time.perf_counter()
        stored = await artifacts.put_file(session.context, folder / "file")
        up, middle = time.perf_counter() - start, time.perf_counter()
        await artifacts.get_file(session.context, GetQuestion(sha256=stored.sha256), folder / "back")
        down, again = time.perf_counter() - middle, time.perf_counter()
        assert not (await artifacts.put_file(session.context, folder / "file")).new
        same = time.perf_counter() - again
        grown, bridge_grown = _rss() - before, bridge.memory_info().rss - bridge_before
    (folder / "back").unlink()
    print(
        f"tracecraft  up {_speed(up)} (hash, parts, read back), down {_speed(down)} (hash); put again {same:.2f} s; "
        f"memory +{grown >> 20} MiB, bridge +{bridge_grown >> 20} MiB",
        flush=True,
    )


def _plain(state: StackState, folder: Path) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=state.s3_endpoint,
        region_name="us-east-1",
        aws_access_key_id=state.s3_access_key,
        aws_secret_access_key=state.s3_secret_key,
    )
    before = _rss()
    up = _timed(lambda: client.upload_file(str(folder / "file"), "tracecraft", "bench"))
    down = _timed(lambda: client.download_file("tracecraft", "bench", str(folder / "back")))
    client.delete_object(Bucket="tracecraft", Key="bench")
    (folder / "back").unlink()
    print(f"boto3       up {_speed(up)}, down {_speed(down)}; memory +{(_rss() - before) >> 20} MiB", flush=True)


def _write(path: Path) -> None:
    with path.open("wb") as file:
        for _ in range(SIZE // BLOCK):
            file.write(os.urandom(BLOCK))


def _is_bridge(process: psutil.Process, state: StackState) -> bool:
    ours = state.pid in {parent.pid for parent in process.parents()}
    return ours and any("tracecraft_bridge" in word for word in process.info["cmdline"] or ())


def _rss() -> int:
    return psutil.Process().memory_info().rss


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _speed(seconds: float) -> str:
    return f"{SIZE / 1e6 / seconds:.0f} MB/s"


if __name__ == "__main__":
    main(sys.argv[1:])
