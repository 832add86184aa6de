"""What nobody references leaves the store, and its disk; what somebody references stays."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from typing import TYPE_CHECKING

from tests.support.artifacts import FileRig, store_settings
from tracecraft import artifacts
from tracecraft.queries import ask
from tracecraft_core import ids
from tracecraft_core.bodies import encode
from tracecraft_core.queries import GetQuestion, PutQuestion, Upload
from tracecraft_core.run_events import Artifact, RunStarted
from tracecraft_stack import binaries
from tracecraft_stack.seaweedfs import GARBAGE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.bridge import Rig
    from tracecraft import AsyncSession
    from tracecraft_core.bodies import Body
    from tracecraft_stack.seaweedfs import SeaweedServer

SIZE = 24 << 20


async def test_unreferenced_files_free_the_disk_and_referenced_ones_stay(
    rig: Rig, seaweed: SeaweedServer, project: str
) -> None:
    files = FileRig(rig, seaweed, f"b{project}")
    rig.start(**store_settings(seaweed, files.bucket, blob_grace="3s", housekeeping="1s"))
    async with files.session(project) as session:
        before = on_disk(seaweed.folder)
        kept = await artifacts.put_bytes(session.context, b"the model of a run")
        await publish_artifact(session, kept)
        dropped = [await artifacts.put_bytes(session.context, os.urandom(SIZE // 3)) for _ in range(3)]
        unfinished = await ask(session.context, "artifacts.put", PutQuestion(sha256="0" * 64, size=64 << 20), Upload)
        assert on_disk(seaweed.folder) - before >= SIZE

        await until(lambda: set(files.objects()) == {key for key in files.objects() if kept.sha256 in key})
        await until(lambda: compacted(seaweed) - before < SIZE // 4)

        assert await artifacts.get_bytes(session.context, GetQuestion(sha256=kept.sha256)) == b"the model of a run"
        assert rig.query("SELECT sha256 FROM blob") == [(kept.sha256,)]
        assert rig.query("SELECT id FROM blob_upload WHERE id = %s", unfinished.id) == []
        again = await artifacts.put_bytes(session.context, os.urandom(10))
        assert again.new
        assert dropped[0].sha256 != again.sha256


async def test_a_file_whose_event_waits_for_the_mirror_is_kept(rig: Rig, seaweed: SeaweedServer, project: str) -> None:
    files = FileRig(rig, seaweed, f"b{project}")
    rig.start(**store_settings(seaweed, files.bucket, blob_grace="1s", housekeeping="1s"))
    async with files.session(project) as session:
        stored = await artifacts.put_bytes(session.context, b"named by an event that PostgreSQL does not have yet")
        with rig.hold_up_the_mirror():
            await publish_artifact(session, stored)
            await asyncio.sleep(2.5)  # beyond the grace, and a turn of the sweep
        await rig.caught_up(session.context.bus)
        other = await artifacts.put_bytes(session.context, b"named by none")
        await until(lambda: not [key for key in files.objects() if other.sha256 in key])
        assert [key for key in files.objects() if stored.sha256 in key]


async def publish_artifact(session: AsyncSession, stored: artifacts.Stored) -> None:
    run, writer = ids.run(), ids.fresh()
    now = time.time_ns() // 1000
    events: list[tuple[str, Body]] = [
        ("started", RunStarted(name="kept", time=now)),
        ("artifact", Artifact(name="model", sha256=stored.sha256, size=stored.size, time=now)),
    ]
    for number, (event, body) in enumerate(events, 1):
        subject = f"tc.{session.project}.run.{run}.alice.{event}"
        await session.context.bus.publish(subject, encode(body), msg_id=f"{writer}:{number}")


async def until(holds: Callable[[], bool], patience: float = 20.0) -> None:
    deadline = time.monotonic() + patience
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


def compacted(seaweed: SeaweedServer) -> int:
    """Bytes on the disk after what the master does by itself after a minute or three, with its own threshold.

    The filer tells the volumes of deletions by and by, so once may not be enough.
    """
    subprocess.run(
        [binaries.weed(), "shell", f"-master={seaweed.master}"],
        input=f"lock\nvolume.vacuum -garbageThreshold {GARBAGE}\nunlock\n",
        text=True,
        capture_output=True,
        timeout=60,
        check=True,
        cwd=seaweed.folder,
    )
    return on_disk(seaweed.folder)


def on_disk(folder: Path) -> int:
    """Bytes that the disk has given; files vanish while they are counted."""
    found = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                found += os.stat(os.path.join(path, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return found
