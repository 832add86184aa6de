"""Which ports a stack takes."""

from __future__ import annotations

import os
import socket
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from tracecraft_core.errors import StackError
from tracecraft_stack import Stack, StackOptions
from tracecraft_stack.ports import DEFAULT_PORTS, FREE_RANGE, choose_ports, free_port, is_free

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which this process listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))
        listener.listen()
        yield listener.getsockname()[1]


def test_last_times_ports_are_preferred() -> None:
    last = {"nats": free_port()}
    assert choose_ports({}, last)["nats"] == last["nats"]


def test_a_port_taken_meanwhile_gives_way_to_a_free_one(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEFAULT_PORTS, "nats", taken)
    port = choose_ports({}, {"nats": taken})["nats"]
    assert port != taken
    assert port in FREE_RANGE
    assert is_free(port)


def test_no_port_is_given_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setitem(DEFAULT_PORTS, "nats_monitor", port)
    chosen = choose_ports({"nats": port}, dict.fromkeys(DEFAULT_PORTS, port))
    assert chosen["nats"] == port
    assert len(set(chosen.values())) == len(DEFAULT_PORTS)


def test_a_fixed_port_that_is_taken_is_refused_with_its_holder(taken: int, bare_options: StackOptions) -> None:
    options = replace(bare_options, nats_port=taken)
    with pytest.raises(StackError, match=rf"port {taken} for nats is taken by pid {os.getpid()}"):
        Stack(options).start()


def test_a_stack_takes_another_port_when_the_chosen_one_is_lost_before_its_use(
    taken: int, bare_options: StackOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []

    def too_early(port: int) -> bool:
        looked.append(port)
        return looked.count(taken) == 1 if port == taken else is_free(port)

    monkeypatch.setitem(DEFAULT_PORTS, "nats", taken)
    monkeypatch.setattr("tracecraft_stack.ports.is_free", too_early)
    with Stack(replace(bare_options, postgres=False)) as stack:
        assert stack.nats.port != taken
        assert stack.state.nats_url == stack.nats.url


@pytest.fixture
def impostor() -> Iterator[int]:
    """A port on which somebody else answers every question with 200."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", free_port()), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_a_server_is_not_ready_because_another_answers_on_its_port(
    impostor: int, bare_options: StackOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []

    def too_early(port: int) -> bool:
        looked.append(port)
        return looked.count(impostor) <= 2 if port == impostor else is_free(port)  # the choice, and before the start

    monkeypatch.setitem(DEFAULT_PORTS, "s3", impostor)
    monkeypatch.setattr("tracecraft_stack.ports.is_free", too_early)
    monkeypatch.setattr("tracecraft_stack.server.is_free", too_early)
    with Stack(replace(bare_options, artifacts=True, restart=False)) as stack:
        assert stack.seaweedfs.endpoint != f"http://127.0.0.1:{impostor}"
        assert stack.seaweedfs.alive
        assert stack.state.s3_endpoint == stack.seaweedfs.endpoint


def test_a_listener_on_all_addresses_takes_the_port_too() -> None:
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", free_port()))
        listener.listen()
        assert not is_free(listener.getsockname()[1])
