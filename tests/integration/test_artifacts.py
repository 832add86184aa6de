"""Files go up and come back as they were, once for each content, and a URL opens nothing but its own object."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import os
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.support.artifacts import store_settings
from tracecraft import AsyncSession, artifacts
from tracecraft.queries import ask
from tracecraft_core import ids
from tracecraft_core.bodies import encode
from tracecraft_core.errors import BridgeAway, Damaged, FileProblem, NotFound, Refused, UsageError
from tracecraft_core.queries import (
    CommitQuestion,
    Committed,
    Download,
    GetQuestion,
    PartQuestion,
    PartUrls,
    PutQuestion,
    Upload,
)
from tracecraft_core.run_events import Artifact, RunStarted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from tests.support.artifacts import FileRig
    from tests.support.bridge import Rig
    from tracecraft_core.bodies import Body
    from tracecraft_stack.seaweedfs import SeaweedServer

LARGE = 40 << 20
"""Over the limit of one piece: three parts."""


@pytest.fixture
async def session(file_rig: FileRig, project: str) -> AsyncIterator[AsyncSession]:
    async with file_rig.session(project) as session:
        yield session


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def request(method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> int:
    """Status of a request past our own client."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    try:
        connection.request(method, f"{parts.path}?{parts.query}", body, dict(headers or {}))
        return connection.getresponse().status
    finally:
        connection.close()


async def begin(session: AsyncSession, data: bytes) -> Upload:
    question = PutQuestion(sha256=sha256(data), size=len(data))
    return await ask(session.context, "artifacts.put", question, Upload)


async def commit(session: AsyncSession, id: str | None) -> Committed:
    return await ask(session.context, "artifacts.commit", CommitQuestion(id=str(id)), Committed)


async def get_url(session: AsyncSession, hash: str) -> Download:
    return await ask(session.context, "artifacts.get", GetQuestion(sha256=hash), Download)


async def publish(session: AsyncSession, run: str, bodies: list[tuple[str, Body]]) -> None:
    for number, (event, body) in enumerate(bodies, 1):
        subject = f"tc.{session.project}.run.{run}.alice.{event}"
        await session.context.bus.publish(subject, encode(body), msg_id=f"{run}:{number}")


# -- up and down ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 3_000_000, LARGE + 7], ids=["empty", "one byte", "one piece", "parts"])
async def test_a_file_comes_back_as_it_went_up(session: AsyncSession, tmp_path: Path, size: int) -> None:
    source, target = tmp_path / "model.bin", tmp_path / "back.bin"
    source.write_bytes(os.urandom(size))
    steps: list[tuple[int, int]] = []

    stored = await artifacts.put_file(session.context, source, progress=lambda done, total: steps.append((done, total)))
    answer = await artifacts.get_file(session.context, GetQuestion(sha256=stored.sha256), target)

    assert (stored.size, answer.size) == (size, size)
    assert target.read_bytes() == source.read_bytes()
    assert steps[-1] == (size, size)
    assert sorted(os.listdir(tmp_path)) == ["back.bin", "model.bin"], "nothing is left beside it"


async def test_the_same_content_twice_is_stored_once(file_rig: FileRig, session: AsyncSession, tmp_path: Path) -> None:
    data = os.urandom(LARGE)
    (tmp_path / "a").write_bytes(data)
    (tmp_path / "b").write_bytes(data)

    first = await artifacts.put_file(session.context, tmp_path / "a")
    async with file_rig.session("another-project") as other:
        second = await artifacts.put_file(other.context, tmp_path / "b")

    assert (first.new, second.new) == (True, False)
    assert [size for key, size in file_rig.objects().items() if first.sha256 in key] == [len(data)]


async def test_two_who_put_one_content_at_once_leave_one_object(file_rig: FileRig, session: AsyncSession) -> None:
    data = os.urandom(1_000_000)
    async with file_rig.session("another-project") as other:
        everybody = [session.context, session.context, other.context, other.context]
        stored = await asyncio.gather(*(artifacts.put_bytes(context, data) for context in everybody))
    assert len([key for key in file_rig.objects() if stored[0].sha256 in key]) == 1
    assert await artifacts.get_bytes(session.context, GetQuestion(sha256=stored[0].sha256)) == data


async def test_bytes_and_ranges_of_a_file_can_be_read(session: AsyncSession) -> None:
    data = os.urandom(100_000)
    stored = await artifacts.put_bytes(session.context, data, media_type="image/png")

    assert await artifacts.get_bytes(session.context, GetQuestion(sha256=stored.sha256)) == data
    assert await artifacts.read_range(session.context, stored.sha256, 90_000, 20_000) == data[90_000:]
    assert await artifacts.read_range(session.context, stored.sha256, 100_000, 5) == b""
    with pytest.raises(UsageError, match="100,000 bytes, over 10"):
        await artifacts.get_bytes(session.context, GetQuestion(sha256=stored.sha256), limit=10)


async def test_a_hash_that_nobody_put_is_not_found(session: AsyncSession, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no content '0000"):
        await artifacts.get_file(session.context, GetQuestion(sha256="0" * 64), tmp_path / "target")
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        await ask(session.context, "artifacts.put", PutQuestion(sha256="../../etc", size=1), Upload)
    assert not os.listdir(tmp_path)


async def test_an_upload_belongs_to_its_project(file_rig: FileRig, session: AsyncSession) -> None:
    upload = await begin(session, os.urandom(10))
    async with file_rig.session("another-project") as other:
        with pytest.raises(NotFound, match="no upload"):
            await commit(other, upload.id)


# -- what a URL opens -----------------------------------------------------------------------------------------------


async def test_a_put_url_takes_its_own_bytes_once_and_nothing_else(session: AsyncSession) -> None:
    data = os.urandom(1000)
    upload = await begin(session, data)
    url = str(upload.url)
    key = urlsplit(url).path.rpartition("/")[2]

    assert request("PUT", url, data + b"x", upload.headers) == 403, "a longer file"
    assert request("PUT", url, data[:-1], upload.headers) == 403, "a shorter file"
    assert request("PUT", url, data) == 403, "without the condition"
    assert request("PUT", url.replace(key, "other"), data, upload.headers) == 403
    for method in ("GET", "HEAD", "DELETE"):
        assert request(method, url, None, upload.headers) == 403, method
    assert request("PUT", url, data, upload.headers) == 200
    await commit(session, upload.id)
    assert request("PUT", url, os.urandom(1000), upload.headers) == 412, "what lies there stays"
    assert await artifacts.get_bytes(session.context, GetQuestion(sha256=sha256(data))) == data


async def test_a_get_url_opens_its_own_object_only(session: AsyncSession) -> None:
    mine, other = await artifacts.put_bytes(session.context, b"mine"), await artifacts.put_bytes(session.context, b"no")
    url = (await get_url(session, mine.sha256)).url
    other_url = (await get_url(session, other.sha256)).url

    assert request("GET", url) == 200
    assert request("GET", url.replace(urlsplit(url).path, urlsplit(other_url).path)) == 403
    assert request("GET", url.partition("?")[0]) == 403
    for method in ("HEAD", "PUT", "DELETE", "POST"):
        assert request(method, url, b"x" if method == "PUT" else None) in {403, 405}, method
    assert request("GET", url) == 200, "it is still there"


async def test_a_part_url_takes_its_own_part_and_ends_with_the_upload(session: AsyncSession, tmp_path: Path) -> None:
    data = os.urandom(LARGE)
    upload = await begin(session, data)
    size = upload.part_size or 0
    question = PartQuestion(id=str(upload.id), parts=[1, 2, 3])
    urls = (await ask(session.context, "artifacts.part", question, PartUrls)).urls

    assert request("PUT", urls["1"], data[: size + 1]) == 403, "a longer part"
    assert request("PUT", urls["3"], data[:size]) == 403, "the last part is shorter"
    assert request("PUT", urls["1"].replace("partNumber=1", "partNumber=2"), data[:size]) == 403
    with pytest.raises(Refused, match="3 parts are not there yet, the first is 1"):
        await commit(session, upload.id)
    (tmp_path / "file").write_bytes(data)
    assert (await artifacts.put_file(session.context, tmp_path / "file")).new
    assert request("PUT", urls["1"], data[:size]) == 404


async def test_urls_expire(rig: Rig, seaweed: SeaweedServer, project: str) -> None:
    rig.start(**store_settings(seaweed, f"b{project}", s3_url_expiry="1s"))
    async with AsyncSession(server=rig.nats.url, project=project, agent="alice") as session:
        stored = await artifacts.put_bytes(session.context, b"content")
        urls: list[tuple[str, str, dict[str, str]]] = [("GET", (await get_url(session, stored.sha256)).url, {})]
        upload = await begin(session, b"later")
        urls.append(("PUT", str(upload.url), upload.headers))
        await asyncio.sleep(2.1)  # what is tested is time
        for method, url, headers in urls:
            assert request(method, url, b"later" if method == "PUT" else None, headers) == 403, method
        await artifacts.put_bytes(session.context, b"later")  # a new URL for the same upload


# -- contents that are not what was announced ------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1000, LARGE], ids=["one piece", "parts"])
async def test_a_wrong_content_is_refused_and_removed(file_rig: FileRig, session: AsyncSession, size: int) -> None:
    announced, wrong = os.urandom(size), os.urandom(size)
    upload = await begin(session, announced)
    if upload.part_size is None:
        assert request("PUT", str(upload.url), wrong, upload.headers) == 200
    else:
        question = PartQuestion(id=str(upload.id), parts=[1, 2, 3])
        urls = (await ask(session.context, "artifacts.part", question, PartUrls)).urls
        for number, url in urls.items():
            first = (int(number) - 1) * upload.part_size
            assert request("PUT", url, wrong[first : first + upload.part_size]) == 200

    with pytest.raises(Refused, match=f"hash {sha256(wrong)}"):
        await commit(session, upload.id)

    assert not [key for key in file_rig.objects() if sha256(announced) in key]
    with pytest.raises(NotFound):
        await get_url(session, sha256(announced))
    await artifacts.put_bytes(session.context, announced)
    assert await artifacts.get_bytes(session.context, GetQuestion(sha256=sha256(announced))) == announced


async def test_nothing_can_be_committed_that_was_not_put(session: AsyncSession) -> None:
    upload = await begin(session, os.urandom(10))
    with pytest.raises(Refused, match="nothing was put there yet"):
        await commit(session, upload.id)


async def test_a_content_that_was_spoilt_in_the_store_is_reported(
    file_rig: FileRig, session: AsyncSession, tmp_path: Path
) -> None:
    stored = await artifacts.put_bytes(session.context, b"as it was")
    file_rig.replace(stored.sha256, b"as it is.")
    with pytest.raises(Damaged, match="its hash is"):
        await artifacts.get_file(session.context, GetQuestion(sha256=stored.sha256), tmp_path / "target")
    with pytest.raises(Damaged, match="its hash is"):
        await artifacts.get_bytes(session.context, GetQuestion(sha256=stored.sha256))
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("size", [1000, LARGE], ids=["one piece", "parts"])
async def test_a_bit_that_flips_on_the_disk_is_reported_and_the_content_can_be_put_again(
    file_rig: FileRig, session: AsyncSession, tmp_path: Path, size: int
) -> None:
    data = os.urandom(size)
    stored, other = (
        await artifacts.put_bytes(session.context, data),
        await artifacts.put_bytes(session.context, b"well"),
    )
    await asyncio.to_thread(file_rig.flip, data)
    began = time.monotonic()
    with pytest.raises(Damaged, match="the artifact store cannot read it"):
        await artifacts.get_file(session.context, GetQuestion(sha256=stored.sha256), tmp_path / "target")
    assert time.monotonic() - began < 25, "SeaweedFS itself takes 13 s"
    assert not os.listdir(tmp_path)
    assert (await artifacts.put_bytes(session.context, data)).new
    assert await artifacts.get_bytes(session.context, GetQuestion(sha256=stored.sha256), limit=LARGE) == data
    assert len([key for key in file_rig.objects() if stored.sha256 in key]) == 1
    assert await artifacts.get_bytes(session.context, GetQuestion(sha256=other.sha256)) == b"well"


async def test_verify_names_what_is_damaged_and_looks_at_the_rest(file_rig: FileRig, session: AsyncSession) -> None:
    spoilt, well = os.urandom(1000), os.urandom(1000)
    run = ids.run()
    stored = [await artifacts.put_bytes(session.context, data) for data in (spoilt, well)]
    now = time.time_ns() // 1000
    bodies: list[tuple[str, Body]] = [("started", RunStarted(name="kept", time=now))]
    bodies += [
        ("artifact", Artifact(name=f"f{n}", sha256=s.sha256, size=s.size, time=now)) for n, s in enumerate(stored)
    ]
    await publish(session, run, bodies)
    await asyncio.to_thread(file_rig.flip, spoilt)

    said = await session.runs.verify(run, deep=True)

    assert said.damaged_blobs == [stored[0].sha256]
    assert said.missing_blobs == []
    assert (await artifacts.put_bytes(session.context, spoilt)).new
    assert not (await artifacts.put_bytes(session.context, well)).new
    assert (await session.runs.verify(run, deep=True)).damaged_blobs == []


async def test_a_content_that_the_store_lost_can_be_put_again(file_rig: FileRig, session: AsyncSession) -> None:
    from tests.support.artifacts import s3

    stored = await artifacts.put_bytes(session.context, b"lost and put again")
    [key] = [key for key in file_rig.objects() if stored.sha256 in key]
    s3(file_rig.seaweed).delete_object(Bucket=file_rig.bucket, Key=key)

    with pytest.raises(NotFound, match="has lost it"):
        await artifacts.get_bytes(session.context, GetQuestion(sha256=stored.sha256))
    assert (await artifacts.put_bytes(session.context, b"lost and put again")).new
    assert await artifacts.get_bytes(session.context, GetQuestion(sha256=stored.sha256)) == b"lost and put again"


async def test_a_file_of_a_run_is_fetched_by_its_name(session: AsyncSession, tmp_path: Path) -> None:
    stored = await artifacts.put_bytes(session.context, b"a model")
    run, now = ids.run(), time.time_ns() // 1000
    kept = Artifact(name="models/best.bin", sha256=stored.sha256, size=stored.size, time=now)
    bodies: list[tuple[str, Body]] = [("started", RunStarted(name="kept", time=now)), ("artifact", kept)]
    await publish(session, run, bodies)

    assert await session.runs.fetch(run, "models/best.bin", tmp_path) == tmp_path / "best.bin"
    assert await session.runs.fetch(run, "models/best.bin", str(tmp_path / "other")) == tmp_path / "other"
    assert (tmp_path / "best.bin").read_bytes() == (tmp_path / "other").read_bytes() == b"a model"
    with pytest.raises(NotFound, match=r"no artifact 'nothing': .* has models/best\.bin"):
        await session.runs.fetch(run, "nothing", tmp_path)


# -- files of this machine -------------------------------------------------------------------------------------------


async def test_a_file_that_cannot_be_read_is_named(session: AsyncSession, tmp_path: Path) -> None:
    with pytest.raises(FileProblem, match=r"nowhere\.bin: No such file or directory; give"):
        await artifacts.put_file(session.context, tmp_path / "nowhere.bin")
    with pytest.raises(FileProblem, match="not an ordinary file"):
        await artifacts.put_file(session.context, tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileProblem, match="not an ordinary file"):
        await artifacts.put_file(session.context, tmp_path / "pipe")


@pytest.mark.parametrize("what", ["vanishes", "shrinks", "grows", "is replaced"])
async def test_a_file_that_changes_while_it_goes_up_is_not_kept(
    session: AsyncSession, tmp_path: Path, what: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(LARGE))

    def hurt(done: int, total: int) -> None:
        if not 0 < done < total or hurt.__dict__.setdefault("done", False):
            return
        hurt.__dict__["done"] = True
        if what == "vanishes":
            path.unlink()
        elif what == "is replaced":
            (tmp_path / "new").write_bytes(b"new")
            (tmp_path / "new").rename(path)
        else:
            os.truncate(path, LARGE // 4 if what == "shrinks" else LARGE * 2)

    with pytest.raises(FileProblem, match="vanished while" if what == "vanishes" else "changed while"):
        await artifacts.put_file(session.context, path, progress=hurt)


async def test_a_download_goes_on_with_what_is_there(session: AsyncSession, tmp_path: Path) -> None:
    data = os.urandom(2_000_000)
    stored = await artifacts.put_bytes(session.context, data)
    part = tmp_path / f".target.{stored.sha256[:16]}.part"
    part.write_bytes(data[:1_500_000])
    steps: list[int] = []

    question = GetQuestion(sha256=stored.sha256)
    await artifacts.get_file(
        session.context, question, tmp_path / "target", progress=lambda done, _: steps.append(done)
    )

    assert steps[0] == 1_500_000
    assert (tmp_path / "target").read_bytes() == data


async def test_a_spoilt_beginning_of_a_download_is_fetched_again(session: AsyncSession, tmp_path: Path) -> None:
    data = os.urandom(100_000)
    stored = await artifacts.put_bytes(session.context, data)
    part = tmp_path / f".target.{stored.sha256[:16]}.part"
    part.write_bytes(b"\0" * 50_000)
    await artifacts.get_file(session.context, GetQuestion(sha256=stored.sha256), tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == data
    assert not part.exists()


async def test_a_download_needs_a_folder(session: AsyncSession, tmp_path: Path) -> None:
    stored = await artifacts.put_bytes(session.context, b"content")
    with pytest.raises(FileProblem, match="No such file or directory; give a path that can be written"):
        await artifacts.get_file(session.context, GetQuestion(sha256=stored.sha256), tmp_path / "no" / "target")


# -- no store --------------------------------------------------------------------------------------------------------


async def test_a_bridge_without_a_store_says_what_to_set(rig: Rig, project: str) -> None:
    rig.start()
    async with AsyncSession(server=rig.nats.url, project=project, agent="alice") as session:
        with pytest.raises(BridgeAway, match="no artifact store: set TRACECRAFT_S3_ENDPOINT"):
            await artifacts.put_bytes(session.context, b"x", patience=0)
