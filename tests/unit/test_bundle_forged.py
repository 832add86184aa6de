"""Bundles that somebody made up: whole by their hashes, and refused for what they say."""

from __future__ import annotations

import hashlib
import io
import tracemalloc
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import zstandard

from tests.support.recorded import Recording
from tracecraft_core import cut
from tracecraft_core.bundle import BundleReader, BundleWriter, bounds, layout, tree
from tracecraft_core.bundle.layout import Member
from tracecraft_core.bundle.writer import MemberWriter
from tracecraft_core.errors import Damaged
from tracecraft_core.queries import Entry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

GOOD = Entry(seq=5, time="2026-11-22T20:00:00.5Z", subject="tc.lab.run.r1.ann.log", body={"text": "hi", "time": 1})

HEADERS: tuple[dict[str, Any], ...] = (
    {"a": "b\r\nKV-Operation: DEL"},
    {"a": ["b", "c\n"]},
    {"a\r\nb": "c"},
    {"a:b": "c"},
    {"": "c"},
    {"a": "\0"},
    {"a": 1},
    {"a": []},
    {"a": None},
)


def problems(path: Path, entries: Sequence[Entry], **given: Any) -> list[str]:
    """What a reader says of a bundle of these entries, with the hashes of its contents."""
    values = {"project": "lab", "runs": ["r1"], "first_seq": 1, "last_seq": 1 << 61, "checkpoint": cut.empty()}
    with path.open("wb") as file:
        writer = BundleWriter(file, **{**values, **given})
        for entry in entries:
            writer.add(entry)
        writer.finish()
    with BundleReader.open(path) as bundle:
        return bundle.verify()


def changed(**fields: Any) -> Entry:
    return msgspec.structs.replace(GOOD, **fields)


@pytest.mark.parametrize(
    "subject",
    [
        "tc.lab.run.r1.ann.step.ended",
        "tc.lab.run.r1._tracecraft.crashed",
        "tc.lab.run.r1.ann.an.event.of.tomorrow",
        "tc.lab.memory.a.b=c/d",
        "tc.lab.task.S1.parse",
        "tc.lab.msg.ann.bob",
        "tc.lab.all.bob",
        "tc.lab.receipt.ann.bob",
        "tc.lab.agent.ann.joined",
    ],
)
def test_every_family_may_be_in_a_bundle(tmp_path: Path, subject: str) -> None:
    headers = {"Nats-Msg-Id": "x:1", "Tc-Run": "another", "twice": ["a", "b"]}
    assert problems(tmp_path / "a.tcb", [changed(subject=subject, headers=headers)]) == []


@pytest.mark.parametrize(
    "fields",
    [
        *(
            {"subject": subject}
            for subject in (
                "tc.other.run.r1.ann.log",
                "tc.other.memory.key",
                "tc._tracecraft.memory.beat",
                "tc.lab.run.r2.ann.log",
                "tc.lab.run.r1.ann.deleted",
                "tc.lab.run.r1._tracecraft.deleted",
                "tc.lab.run.r1.ann",
                "tc.lab.run.r1.a\nn.log",
                "tc.lab.run.r1.ann.l g",
                "tc.lab.run.r1.ann.",
                "tc.lab.memory.a..b",
                "tc.lab.memory.",
                "tc.lab.memory.*",
                "tc.lab.memory." + "k" * 257,
                "tc.lab.msg.ann",
                "tc.lab.msg.a\0.b",
                "tc.lab.other.ann",
                "tc.lab",
                "$KV.tc_memory.lab.key",
                "",
            )
        ),
        *({"headers": headers} for headers in HEADERS),
        *(
            {"time": time}
            for time in (
                "0001-01-01T00:00:00Z",
                "1969-12-31T23:59:59.999999Z",
                "2262-01-01T00:00:00Z",
                "9999-01-01T00:00:00Z",
                "2026-11-22T20:00:00+01:00",
                "2026-11-22T20:00:00",
                "2026-11-22",
                "2026-02-30T00:00:00Z",
                "soon",
                "",
            )
        ),
        *({"seq": seq} for seq in (0, -1, 1 << 62, (1 << 63) - 1)),
        {"raw": "!!!", "body": None},
        {"raw": "aGk=", "body": 1},
    ],
)
def test_entry_that_is_not_of_the_run_or_cannot_be_of_a_log_is_refused(tmp_path: Path, fields: dict[str, Any]) -> None:
    found = problems(tmp_path / "a.tcb", [changed(**fields)], first_seq=1)
    assert len(found) == 1
    assert "entr" in found[0]


@pytest.mark.parametrize("seqs", [(5, 5), (5, 4), (9, 10)])
def test_sequences_go_up_and_stay_in_the_range_of_the_manifest(tmp_path: Path, seqs: tuple[int, int]) -> None:
    assert problems(tmp_path / "a.tcb", [changed(seq=seq) for seq in seqs], first_seq=5, last_seq=9)


@pytest.mark.parametrize(
    "given",
    [
        {"project": "_tracecraft"},
        {"project": "a.b"},
        {"runs": ["r1", "r1"]},
        {"runs": ["r1", "x.y"]},
        {"first_seq": 0},
        {"first_seq": 9, "last_seq": 8},
        {"last_seq": 1 << 62},
    ],
)
def test_manifest_has_valid_names_and_a_range(tmp_path: Path, given: dict[str, Any]) -> None:
    [problem] = problems(tmp_path / "a.tcb", [], **given)
    assert problem.startswith("the manifest")


def remade(path: Path, contents: dict[str, bytes], **sizes: int) -> Path:
    """A bundle of one entry with other contents of members, and hashes that fit; ``sizes`` go into the manifest."""
    with BundleReader.open(path) as bundle:
        raws = {member.name: bundle.raw(member.name) for member in bundle.manifest.members} | contents
        manifest = bundle.manifest
    out, members = io.BytesIO(), list[Member]()
    writer = MemberWriter(out)
    for name, raw in raws.items():
        data = zstandard.compress(raw) if name.endswith(".zst") else raw
        hashes = hashlib.sha256(data).hexdigest(), hashlib.sha256(raw).hexdigest()
        member = Member(name=name, size=len(data), sha256=hashes[0], raw_size=len(raw), raw_sha256=hashes[1])
        members.append(msgspec.structs.replace(member, **(sizes if name in contents else {})))
        writer.add(name, data)
    root = tree.root([tree.leaf(member.name, member.raw_sha256) for member in members])
    writer.add(layout.MANIFEST, msgspec.json.encode(msgspec.structs.replace(manifest, members=members, root=root)))
    writer.close()
    forged = path.with_name("forged.tcb")
    forged.write_bytes(out.getvalue())
    return forged


def opened(path: Path) -> list[str]:
    with BundleReader.open(path) as bundle:
        return bundle.verify()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    assert problems(tmp_path / "small.tcb", [GOOD], first_seq=5, last_seq=5) == []
    return tmp_path / "small.tcb"


def line(size: int) -> bytes:
    return msgspec.json.encode(changed(body="0" * size)) + b"\n"


def test_small_bundle_that_would_fill_the_memory_is_refused_before_it_does(small: Path) -> None:
    bomb = remade(small, {"events/5.jsonl.zst": line(200_000_000)})
    assert bomb.stat().st_size < 100_000
    tracemalloc.start()
    try:
        with pytest.raises(Damaged, match=r"200,000,\d+ bytes; at most 8,388,608"):
            BundleReader.open(bomb)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_other_members_and_all_together_are_held_to_a_ratio(small: Path) -> None:
    with pytest.raises(Damaged, match=r"checkpoint.*more than 256 for each"):
        BundleReader.open(remade(small, {layout.CHECKPOINT: b" " * 80_000_000 + b"{}"}))
    many = {layout.chunk_name(seq): line(8_000_000) for seq in range(5, 80)}
    with pytest.raises(Damaged, match=r"600,\d+,\d+ bytes, more than 256 for each"):
        BundleReader.open(remade(small, many))


@pytest.mark.parametrize("sizes", [{"raw_size": 100}, {"raw_size": -1}, {"size": 10}, {"size": -5}])
def test_sizes_of_the_manifest_must_be_those_of_the_members(small: Path, sizes: dict[str, int]) -> None:
    with pytest.raises(Damaged):
        assert not opened(remade(small, {layout.SKELETON: b"{}"}, **sizes))


def test_frame_that_says_less_than_it_has_is_not_unpacked(small: Path) -> None:
    data = zstandard.ZstdCompressor(write_content_size=False).compress(b"0" * 1_000_000)
    member = Member(name="x.zst", size=len(data), sha256="", raw_size=1_000_000, raw_sha256="")
    with pytest.raises(Damaged, match="does not have the 1,000,000 bytes"):
        bounds.unpacked(data, member, "it")


def test_large_chunk_has_one_entry(small: Path) -> None:
    lines = line(700_000) + msgspec.json.encode(changed(seq=6, body="1" * 700_000)) + b"\n"
    stats = '[{"first_seq":5,"last_seq":6,"entries":2,"first_time":"","last_time":"","counts":{},"agents":[]}]'
    [problem] = opened(remade(small, {"events/5.jsonl.zst": lines, layout.STATS: stats.encode()}))
    assert "one alone may be so large" in problem
    one = Recording()
    one.put("tc.lab.run.r1.ann.log", {"text": "0" * 3_000_000})
    assert problems(small, one.entries) == []


def test_chunks_are_those_of_the_statistics(small: Path) -> None:
    hidden = {"events/6.jsonl.zst": msgspec.json.encode(changed(seq=6)) + b"\n"}
    assert "chunks are not" in opened(remade(small, hidden))[0]
    assert "not those of" in opened(remade(small, {"events/5.jsonl.zst": msgspec.json.encode(changed(seq=-5))}))[0]
