"""Files survive what dies meanwhile: the process that puts them, the store, the bridge; and disks that are full."""

from __future__ import annotations

import asyncio
import filecmp
import hashlib
import os
import threading
from typing import TYPE_CHECKING

import pytest

from tests.fault.programs.handle import Program
from tracecraft import AsyncSession, artifacts
from tracecraft_core.errors import BridgeAway, FileProblem
from tracecraft_core.queries import GetQuestion

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.support.artifacts import FileRig

MIB = 1 << 20
SIZE = 64 * MIB


@pytest.fixture
async def session(file_rig: FileRig, project: str) -> AsyncIterator[AsyncSession]:
    async with file_rig.session(project) as session:
        yield session


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file of four parts."""
    path = tmp_path / "large.bin"
    path.write_bytes(os.urandom(SIZE))
    return path


def once_past(place: int, act: Callable[[], object]) -> Callable[[int, int], None]:
    """A progress that does something when the transfer gets there for the first time."""
    left = threading.Semaphore(1)

    def told(done: int, total: int) -> None:
        if done >= place and left.acquire(blocking=False):
            act()

    return told


def test_another_process_goes_on_with_the_upload_of_a_killed_one(file_rig: FileRig, project: str, large: Path) -> None:
    url = file_rig.rig.nats.url
    with Program("uploader", url, project, "first", large, SIZE - MIB) as first:
        assert first.hear("halfway")["done"] >= SIZE - MIB
        first.kill()
    with Program("uploader", url, project, "second", large) as second:
        stored = second.hear("stored")
    assert 32 * MIB <= stored["began"] < SIZE, "the parts that were there did not travel again"
    assert stored["sha256"] == hashlib.sha256(large.read_bytes()).hexdigest()
    assert [size for key, size in file_rig.objects().items() if stored["sha256"] in key] == [SIZE]


def test_a_large_file_goes_up_and_down_in_flat_memory(file_rig: FileRig, project: str, large: Path) -> None:
    url = file_rig.rig.nats.url
    with Program("uploader", url, project, "alice", large) as uploader:
        up = uploader.hear("stored")
    with Program("downloader", url, project, "bob", up["sha256"], large.with_name("back")) as downloader:
        down = downloader.hear("fetched")
    assert large.with_name("back").read_bytes() == large.read_bytes()
    assert up["grown"] < 16 * MIB
    assert down["grown"] < 16 * MIB


async def test_an_upload_goes_on_when_the_store_comes_back(
    file_rig: FileRig, session: AsyncSession, large: Path
) -> None:
    seaweed = file_rig.seaweed
    restarted: list[asyncio.Future[float]] = []
    loop = asyncio.get_running_loop()

    def kill() -> None:
        seaweed.kill()
        loop.call_soon_threadsafe(lambda: restarted.append(asyncio.ensure_future(asyncio.to_thread(seaweed.start))))

    stored = await artifacts.put_file(session.context, large, progress=once_past(40 * MIB, kill))
    await restarted[0]
    target = large.with_name("back")
    await artifacts.get_file(session.context, GetQuestion(sha256=stored.sha256), target)
    assert filecmp.cmp(target, large, shallow=False)


async def test_a_download_goes_on_when_the_store_comes_back(
    file_rig: FileRig, session: AsyncSession, large: Path
) -> None:
    seaweed, target = file_rig.seaweed, large.with_name("back")
    stored = await artifacts.put_file(session.context, large)
    restarted: list[asyncio.Future[float]] = []
    loop = asyncio.get_running_loop()

    def kill() -> None:
        seaweed.kill()
        loop.call_soon_threadsafe(lambda: restarted.append(asyncio.ensure_future(asyncio.to_thread(seaweed.start))))

    question = GetQuestion(sha256=stored.sha256)
    await artifacts.get_file(session.context, question, target, progress=once_past(20 * MIB, kill))
    await restarted[0]
    assert filecmp.cmp(target, large, shallow=False)


async def test_a_store_that_stays_away_is_reported_and_can_be_tried_again(
    file_rig: FileRig, session: AsyncSession
) -> None:
    data = os.urandom(1000)
    file_rig.seaweed.kill()
    try:
        with pytest.raises(BridgeAway, match="artifact store"):
            await artifacts.put_bytes(session.context, data, patience=0)
    finally:
        await asyncio.to_thread(file_rig.seaweed.start)
    assert (await artifacts.put_bytes(session.context, data)).new


async def test_an_upload_outlives_its_bridge(file_rig: FileRig, session: AsyncSession, large: Path) -> None:
    bridge = file_rig.rig.bridges[0]
    bridge.kill()
    upload = asyncio.create_task(artifacts.put_file(session.context, large))
    await asyncio.to_thread(bridge.start)
    stored = await upload
    assert len(await artifacts.read_range(session.context, stored.sha256, 0, 10)) == 10


async def test_a_full_disk_is_said_and_leaves_nothing_behind(
    file_rig: FileRig, session: AsyncSession, project: str, large: Path
) -> None:
    stored = await artifacts.put_file(session.context, large)
    target = large.with_name("back")
    with Program("downloader", file_rig.rig.nats.url, project, "bob", stored.sha256, target, 10 * MIB) as downloader:
        said = downloader.hear("failed")
    assert said["error"] == FileProblem.__name__
    assert said["text"].endswith("make room or give another folder")
    assert os.listdir(large.parent) == ["large.bin"]
