"""Bundles as files: the same entries make the same bytes, few reads open one, and no changed byte goes unnoticed."""

from __future__ import annotations

import io
import random
import zipfile
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.support.recorded import Recording, a_search
from tracecraft_core import cut
from tracecraft_core.bundle import BundleReader, BundleWriter, FileSource, container, layout, tree
from tracecraft_core.bundle.container import Place
from tracecraft_core.bundle.packing import repack
from tracecraft_core.errors import Damaged

if TYPE_CHECKING:
    from pathlib import Path


def written(tape: Recording, path: Path, seed: bytes | None = None) -> Path:
    with path.open("wb") as file:
        writer = BundleWriter(
            file,
            project=tape.project,
            runs=[tape.run],
            first_seq=tape.first_seq,
            last_seq=tape.last_seq,
            checkpoint=cut.empty(tape.first_seq - 1),
            seed=seed,
        )
        for entry in tape.entries:
            writer.add(entry)
        writer.finish()
    return path


def long_run(steps: int) -> Recording:
    tape = Recording()
    tape.event("a", "started", name="long")
    for number in range(steps):
        tape.begin(f"a{number % 3}", f"{number + 1:016x}", f"step {number % 40}")
        tape.event("a", "step.output", step=f"{number + 1:016x}", value=random.Random(number).random())
        tape.end(f"a{number % 3}", f"{number + 1:016x}", f"step {number % 40}", 5)
        tape.tick(1000)
    return tape


@pytest.fixture(scope="module")
def long_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(long_run(8_000), tmp_path_factory.mktemp("bundle") / "long.tcb")


def test_bundle_gives_back_every_entry_and_any_zip_tool_opens_it(tmp_path: Path) -> None:
    tape = a_search()
    with BundleReader.open(written(tape, tmp_path / "a.tcb")) as bundle:
        assert list(bundle.entries()) == tape.entries
        assert list(bundle.entries(105, 200)) == [entry for entry in tape.entries if 105 <= entry.seq <= 200]
        assert bundle.entry(200) == tape.entries[19]
        assert bundle.entry(201) is None
        assert bundle.verify() == []
        summary = bundle.manifest.summary
        assert (summary.status, summary.errors, summary.tokens.output) == ("finished", 2, 430)
        assert summary.reported_cost == pytest.approx(0.0163)
    with zipfile.ZipFile(tmp_path / "a.tcb") as archive:
        assert archive.testzip() is None
        assert archive.read("mimetype").decode() == layout.MEDIA_TYPE


def test_same_entries_make_the_same_bytes_and_another_makes_another_root(tmp_path: Path) -> None:
    one, two = written(a_search(), tmp_path / "a.tcb"), written(a_search(), tmp_path / "b.tcb")
    assert one.read_bytes() == two.read_bytes()
    other = a_search()
    other.event("lead", "log", text="more")
    with BundleReader.open(one) as a, BundleReader.open(written(other, tmp_path / "c.tcb")) as c:
        assert a.manifest.root != c.manifest.root


def test_every_changed_byte_is_found(tmp_path: Path) -> None:
    data = written(a_search(), tmp_path / "a.tcb").read_bytes()
    changed, chance = tmp_path / "changed.tcb", random.Random(7)
    for place in {*range(0, len(data), 11), *range(len(data) - 120, len(data)), *range(60)}:
        flipped = bytearray(data)
        flipped[place] ^= 1 << chance.randrange(8)
        changed.write_bytes(flipped)
        assert not whole(changed), place
    for length in range(0, len(data), 997):
        changed.write_bytes(data[:length])
        assert not whole(changed), length
    changed.write_bytes(data + b"\0")
    assert not whole(changed)


def whole(path: Path) -> bool:
    try:
        with BundleReader.open(path) as bundle:
            return bundle.verify() == []
    except Damaged:
        return False


def test_what_is_damaged_is_named_and_the_rest_can_still_be_read(long_bundle: Path, tmp_path: Path) -> None:
    with BundleReader.open(long_bundle) as bundle:
        names = [
            place for place in bundle.places.values() if place.name.startswith("events/") and "stats" not in place.name
        ]
    data = bytearray(long_bundle.read_bytes())
    data[names[1].data + 50] ^= 1
    (tmp_path / "bad.tcb").write_bytes(data)
    with BundleReader.open(tmp_path / "bad.tcb") as bundle:
        [problem] = bundle.verify()
        assert problem.startswith(names[1].name)
        assert next(bundle.entries()).seq == bundle.manifest.first_seq


def test_opening_and_reading_one_entry_takes_at_most_three_reads(
    long_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tail in (layout.TAIL_BYTES, 4096):  # a long run's tail does not reach the skeleton
        monkeypatch.setattr(layout, "TAIL_BYTES", tail)
        source = FileSource(long_bundle)
        with BundleReader.open(source) as bundle:
            middle = bundle.manifest.first_seq + 10_000
            assert len(bundle.skeleton.steps) == 8_000
            assert bundle.entry(middle - middle % 10) is not None
            assert source.reads <= 3


def test_skeleton_has_the_tree_of_steps_and_who_wrote_to_whom(tmp_path: Path) -> None:
    with BundleReader.open(written(a_search(), tmp_path / "a.tcb")) as bundle:
        skeleton = bundle.skeleton
        row = skeleton.step_row(f"{2:016x}")
        assert row is not None
        mark = skeleton.step(row)
        assert (mark.name, mark.agent, mark.kind, mark.status, mark.duration) == (
            "ask the model",
            "lead",
            "llm",
            "ok",
            900_000,
        )
        assert mark.parent == skeleton.step_row(f"{1:016x}")
        assert [agent.agent for agent in skeleton.agents] == ["lead", "ann", "bob"]
        names = skeleton.names
        talk = [
            (names[a], names[b]) for a, b in zip(skeleton.messages.sender, skeleton.messages.recipient, strict=True)
        ]
        assert talk == [("lead", "ann"), ("lead", "bob"), ("ann", "lead"), ("bob", "lead")]


def test_state_in_a_bundle_goes_forward_and_back(tmp_path: Path) -> None:
    tape = a_search()
    with BundleReader.open(written(tape, tmp_path / "a.tcb")) as bundle:
        for seq in (*range(tape.first_seq, tape.last_seq, 40), tape.first_seq):
            expected = cut.fold(cut.empty(), tape.entries, seq)
            assert msgspec.to_builtins(bundle.state_at(seq)) == msgspec.to_builtins(expected)
        assert bundle.state_at(tape.last_seq).memory["winner"].value == {"model": "svm", "C": 32}
        assert "plan.models" not in bundle.state_at(tape.last_seq).memory


def test_files_inside_change_neither_root_nor_what_remains_without_them(tmp_path: Path) -> None:
    import hashlib

    (tmp_path / "file").write_bytes(b"model" * 1000)
    sha256 = hashlib.sha256(b"model" * 1000).hexdigest()
    plain = written(a_search(), tmp_path / "a.tcb")
    with BundleReader.open(plain) as bundle, (tmp_path / "b.tcb").open("wb") as out:
        repack(bundle, out, {sha256: tmp_path / "file"})
        root = bundle.manifest.root
    with BundleReader.open(tmp_path / "b.tcb") as bundle, (tmp_path / "c.tcb").open("wb") as out:
        assert (bundle.verify(), bundle.artifacts(), bundle.manifest.root) == ([], [sha256], root)
        assert b"".join(bundle.artifact(sha256)) == b"model" * 1000
        repack(bundle, out, {})
    assert (tmp_path / "c.tcb").read_bytes() == plain.read_bytes()


def test_signature_is_the_keys_and_over_this_bundle_only(tmp_path: Path) -> None:
    import nkeys

    seed = nkeys.encode_seed(bytes(range(32)), nkeys.PREFIX_BYTE_USER)
    signed = written(a_search(), tmp_path / "a.tcb", bytes(seed))
    other = written(long_run(3), tmp_path / "b.tcb", bytes(seed))
    assert whole(signed)
    with BundleReader.open(other) as bundle:
        foreign = bundle.content(layout.SIGNATURE)
    with BundleReader.open(signed) as bundle:
        members = {name: bundle.content(name) for name in bundle.places}
    out, places = io.BytesIO(), list[Place]()
    import zlib

    for name, data in {**members, layout.SIGNATURE: foreign}.items():
        place = Place(name, len(data), zlib.crc32(data), out.tell())
        out.write(container.local_header(place) + data)
        places.append(place)
    out.write(container.directory(places, out.tell()))
    (tmp_path / "c.tcb").write_bytes(out.getvalue())
    with BundleReader.open(tmp_path / "c.tcb") as bundle:
        [problem] = bundle.verify()
        assert "signature" in problem


def test_root_is_that_of_rfc_6962() -> None:
    import hashlib

    leaves = [bytes([number]) * 32 for number in range(5)]

    def node(left: bytes, right: bytes) -> bytes:
        return hashlib.sha256(b"\1" + left + right).digest()

    four = node(node(leaves[0], leaves[1]), node(leaves[2], leaves[3]))
    assert tree.root(leaves) == node(four, leaves[4]).hex()
    assert tree.root(leaves[:1]) == leaves[0].hex()


def test_large_files_get_the_headers_of_zip64() -> None:
    place = Place("artifacts/x", 5 << 30, 7, 6 << 30)
    end = container.directory([place], 12 << 30)
    found = container.read_end(end, "it")
    assert (found.members, found.offset) == (1, 12 << 30)
    assert container.read_directory(end, found, "it") == [place]


def test_curves_are_small_and_keep_extremes(tmp_path: Path) -> None:
    tape = Recording()
    points: list[Any] = [("loss", float(number % 97), number, number) for number in range(50_000)]
    points[31_234] = ("loss", 1e9, 31_234, 31_234)
    for start in range(0, len(points), 2_000):
        tape.event("a", "metric", points=points[start : start + 2_000])
    tape.event("a", "metric", points=[("loss", "NaN", 50_000, 1)])
    with BundleReader.open(written(tape, tmp_path / "a.tcb")) as bundle:
        [curve] = bundle.metrics()
    assert (curve.points, curve.nans, sum(curve.count)) == (50_001, 1, 50_000)
    assert len(curve.bucket) <= 1_000
    assert (max(curve.max), min(curve.min)) == (1e9, 0)
