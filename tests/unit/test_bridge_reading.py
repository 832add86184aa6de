"""Frames from the socket, batches in sequence, revisions without holes, and settings."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from tracecraft_bridge.copy_format import LogMessage
from tracecraft_bridge.frames import Frame, FrameParser
from tracecraft_bridge.mirror import in_sequence
from tracecraft_bridge.origins import Hole, holes
from tracecraft_bridge.settings import from_environment
from tracecraft_core.errors import UsageError
from tracecraft_core.transport import ServerOptions


class Client:
    """What nats-py's parser calls."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.on_ping: Any = None

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        self.heard.append((sid, subject, reply, data, headers))

    async def _process_ping(self) -> None:
        self.heard.append("ping")
        if self.on_ping:
            self.on_ping()

    async def _process_pong(self) -> None:
        self.heard.append("pong")

    async def _process_err(self, message: str) -> None:
        self.heard.append(message)


WIRE = (
    b"MSG tc.a 7 $JS.ACK.x 5\r\nhello\r\n"
    b"PING\r\n"
    b"HMSG tc.b 7 $JS.ACK.y 17 21\r\nNATS/1.0\r\nA:1\r\n\r\nMSG \r\n"
    b"MSG other 17 3\r\n\r\n7\r\n"
    b"HMSG inbox 7 32 32\r\nNATS/1.0 408 Request Timeout\r\n\r\n\r\n"
    b"HMSG other 8 re 12 12\r\nNATS/1.0\r\n\r\n\r\n"
    b"-ERR 'Slow down'\r\n"
    b"MSG tc.c 7 $JS.ACK.z 0\r\n\r\n"
    b"PONG\r\n"
)
FRAMES = [
    Frame(b"tc.a", b"$JS.ACK.x", b"", b"hello"),
    Frame(b"tc.b", b"$JS.ACK.y", b"NATS/1.0\r\nA:1\r\n\r\n", b"MSG "),
    Frame(b"inbox", b"", b"NATS/1.0 408 Request Timeout\r\n\r\n", b""),
    Frame(b"tc.c", b"$JS.ACK.z", b"", b""),
]
OTHERS = [
    "ping",
    (17, b"other", b"", b"\r\n7", None),
    (8, b"other", b"re", b"", b"NATS/1.0\r\n\r\n"),
    "'slow down'",
    "pong",
]


def _parser() -> tuple[FrameParser, Client, list[Frame]]:
    client, frames = Client(), list[Frame]()
    parser = FrameParser(client)  # type: ignore[arg-type]
    parser.sinks[b"7"] = frames.extend
    return parser, client, frames


@pytest.mark.parametrize("seed", range(40))
async def test_frames_are_the_same_however_the_socket_cuts_them(seed: int) -> None:
    parser, client, frames = _parser()
    cuts = sorted(random.Random(seed).sample(range(1, len(WIRE)), k=min(seed * 3, 60)))
    for begin, end in zip([0, *cuts], [*cuts, len(WIRE)], strict=True):
        await parser.parse(WIRE[begin:end])
    assert frames == FRAMES
    assert client.heard == OTHERS


async def test_a_large_body_in_many_pieces_arrives_whole() -> None:
    parser, _, frames = _parser()
    body = random.Random(1).randbytes(1_000_000)
    wire = b"MSG s 7 r 1000000\r\n" + body + b"\r\n"
    for begin in range(0, len(wire), 32_768):
        await parser.parse(wire[begin : begin + 32_768])
    assert frames == [Frame(b"s", b"r", b"", body)]


async def test_a_new_connection_does_not_see_the_rest_of_the_old_one() -> None:
    parser, client, frames = _parser()
    client.on_ping = parser.reset
    await parser.parse(b"PING\r\nMSG s 7 r 5\r\nhel")
    await parser.parse(b"MSG t 7 r 1\r\n1\r\n")
    assert frames == [Frame(b"t", b"r", b"", b"1")]


def _messages(*seqs: int) -> list[LogMessage]:
    return [LogMessage(b"", seq, 0, b"", b"", b"", 0) for seq in seqs]


@pytest.mark.parametrize(
    ("delivered", "run", "rest"),
    [
        ((11, 12, 13), (11, 12, 13), ()),
        ((9, 10, 11, 12), (11, 12), ()),
        ((9, 10), (), ()),
        ((11, 13, 14), (11,), (13, 14)),
        ((12,), (), (12,)),
        ((11, 13, 12, 14), (11,), (13, 12, 14)),
        ((11, 11, 12, 11, 13), (11, 12, 13), ()),
        ((11, 12, 9, 10, 13), (11, 12, 13), ()),
    ],
)
def test_a_batch_is_taken_up_to_its_first_hole(
    delivered: tuple[int, ...], run: tuple[int, ...], rest: tuple[int, ...]
) -> None:
    taken, left = in_sequence(_messages(*delivered), 10)
    assert tuple(message.seq for message in taken) == run
    assert tuple(message.seq for message in left) == rest


@pytest.mark.parametrize(
    ("last", "revisions", "found", "end"),
    [
        (0, [1, 2, 3], [], 3),
        (0, [3], [Hole(1, 2)], 3),
        (None, [3, 4], [], 4),
        (5, [6, 9, 10, 12], [Hole(7, 8), Hole(11, 11)], 12),
        (5, [1, 2], [], 2),
        (5, [], [], 5),
    ],
)
def test_holes_between_revisions_are_found(last: int | None, revisions: list[int], found: list[Hole], end: int) -> None:
    assert holes(last, revisions) == (found, end)


BUS = ServerOptions()
DSN = {"TRACECRAFT_POSTGRES": "postgresql://tracecraft:secret@h/db"}


def test_settings_have_defaults_and_hide_the_password() -> None:
    settings = from_environment(DSN, BUS)
    assert (settings.listen, settings.retention, settings.batch) == (("127.0.0.1", 9464), 7 * 86400, 4000)
    assert "secret" not in repr(settings)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1.5h", 5400), ("2w", 1209600), ("forever", None)])
def test_a_retention_has_a_unit(text: str, seconds: float | None) -> None:
    assert from_environment(DSN | {"TRACECRAFT_RETENTION": text}, BUS).retention == seconds


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("POSTGRES", "", "not set"),
        ("RETENTION", "7", "for example 7d"),
        ("RETENTION", "-1d", "for example 7d"),
        ("BRIDGE_LISTEN", "9464", "host:port"),
        ("BRIDGE_LISTEN", "h:70000", "host:port"),
        ("BRIDGE_BATCH", "0", "from 1 to"),
        ("BRIDGE_BATCH", "many", "from 1 to"),
        ("TRIM_AGE", "soon", "for example 10m"),
        ("HOUSEKEEPING", "1 m", "for example 1m"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_name(name: str, value: str, said: str) -> None:
    with pytest.raises(UsageError, match=f"TRACECRAFT_{name}.*{said}"):
        from_environment(DSN | {f"TRACECRAFT_{name}": value}, BUS)


async def test_a_dead_sink_is_not_called() -> None:
    parser, _, frames = _parser()
    parser.sinks.clear()
    await asyncio.wait_for(parser.parse(b"MSG tc.a 7 r 1\r\n1\r\n"), 1)
    assert frames == []
