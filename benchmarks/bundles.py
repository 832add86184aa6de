"""Bundles of a run of 100,000 steps: write, open, verify; size against raw JSONL and against one zstd stream."""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import zstandard

from tracecraft_core import cut
from tracecraft_core.bundle import BundleReader, BundleWriter
from tracecraft_core.queries import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

STEPS = 100_000


def entries(steps: int) -> Iterator[Entry]:
    """Steps with an output each, as three agents write them."""
    begin = Entry(seq=1, time=_time(0), subject="tc.p.run.r.a.started", body={"name": "long", "time": 1})
    yield begin
    for number in range(steps):
        seq, id_, agent = 2 + 3 * number, f"{number * 7919 + 1:016x}", f"a{number % 3}"
        step = {"step": id_, "name": f"train {number % 50}", "kind": "llm", "time": 1_795_000_000_000_000 + number}
        output = {
            "step": id_,
            "value": {"loss": number * 0.61803 % 1, "answer": f"{number * 2654435761 % 2**32:x} " * 4},
        }
        ended = {**step, "duration": number * 31 % 90_000}
        for place, (event, body) in enumerate((("step.started", step), ("step.output", output), ("step.ended", ended))):
            headers = {"Nats-Msg-Id": f"Xk3jQ0aVq7m2TzLrB1cYwA:{seq + place}"}
            yield Entry(
                seq=seq + place, time=_time(number), subject=f"tc.p.run.r.{agent}.{event}", headers=headers, body=body
            )


def _time(number: int) -> str:
    return (
        f"2026-11-22T{number // 36_000 % 24:02d}:{number // 600 % 60:02d}:{number // 10 % 60:02d}.{number % 10}00000Z"
    )


def main(_: list[str], steps: int = STEPS) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.tcb"
        raw, stream = 0, zstandard.ZstdCompressor(level=3).compressobj()
        packed = 0
        for entry in entries(steps):
            line = msgspec.json.encode(entry) + b"\n"
            raw, packed = raw + len(line), packed + len(stream.compress(line))
        packed += len(stream.flush())
        made = list(entries(steps))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        with path.open("wb") as file:
            writer = BundleWriter(
                file, project="p", runs=["r"], first_seq=1, last_seq=3 * steps + 1, checkpoint=cut.empty()
            )
            for entry in made:
                writer.add(entry)
            writer.finish()
        wrote = time.perf_counter() - began
        grew = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        began = time.perf_counter()
        with BundleReader.open(path) as bundle:
            opened = time.perf_counter() - began
            assert bundle.entry(3 * steps // 2) is not None
            first_entry, reads = time.perf_counter() - began, bundle.source.reads
            began = time.perf_counter()
            assert bundle.verify() == []
            verified = time.perf_counter() - began
        size = path.stat().st_size
        print(f"entries {len(made):,}, raw JSONL {raw / 1e6:.1f} MB")
        print(f"write    {wrote:.2f} s, {len(made) / wrote:,.0f} entries/s, memory + {grew / 1024:.0f} MiB")
        print(f"open     {opened * 1e3:.0f} ms; an entry of the middle {first_entry * 1e3:.0f} ms, {reads} range reads")
        print(f"verify   {verified:.2f} s")
        print(f"size     {size / 1e6:.2f} MB: {size / raw:.3f} of raw JSONL, {size / packed:.2f} of one zstd stream")


if __name__ == "__main__":
    main([])
