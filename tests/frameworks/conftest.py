"""Fixtures of the adapters' tests: a stack, a stub model that all usual clients find, and what was recorded.

The other fixtures (`nats`, `project`, `cli`, `stack`, …) are those of all tests.
"""

from __future__ import annotations

import json
import time
import warnings
from typing import TYPE_CHECKING, Final

import pytest

from tests.frameworks.our_tools import HELD
from tests.frameworks.recorded_run import Recorded
from tests.frameworks.truth import Truth
from tests.support.gate import Gate
from tests.support.stub_model import StubModel
from tracecraft import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.cli import CommandLine
    from tracecraft_stack import Stack

WARNINGS: Final = (
    "ignore",
    # Frameworks warn of themselves and of what they stand on; what comes from our code is an error.
    r"error:::tracecraft(_\w+)?(\.|$)",
    r"error:::tests\.",
)


def pytest_configure(config: pytest.Config) -> None:
    """Warnings of others are no errors here."""
    for line in WARNINGS:
        config.addinivalue_line("filterwarnings", line)


@pytest.hookimpl(tryfirst=True)
def pytest_unconfigure() -> None:
    """Connections that a framework keeps open for the life of the process are no errors at its end."""
    warnings.simplefilter("ignore", ResourceWarning)
    warnings.simplefilter("ignore", pytest.PytestUnraisableExceptionWarning)


@pytest.fixture(autouse=True)
def bus(stack: Stack, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of the bus, which adapters find by themselves in the environment; agent ``tester``."""
    settings = {"SERVER": stack.state.nats_url, "PROJECT": project, "AGENT": "tester", "SPOOL": str(tmp_path / "spool")}
    for name, value in settings.items():
        monkeypatch.setenv(f"TRACECRAFT_{name}", value)
    yield stack.state.nats_url
    from tracecraft.integrations import closing

    assert closing.flush(), "a run that the framework has ended is not closed after 30 s"


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[StubModel]:
    """The stub model, which clients find in the environment; what was scripted must happen, and nothing else."""
    with StubModel() as running:
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE"):
            monkeypatch.setenv(name, running.openai_url)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", running.url)
        for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
            monkeypatch.setenv(name, "stub")
        yield running
    assert not running.unexpected, f"the model was asked for what nobody has scripted: {running.unexpected[0].text}"
    assert not running.left, f"nobody asked the model for this: {running.left}"


@pytest.fixture
def truth(model: StubModel) -> Truth:
    """What the model knows to be true."""
    return Truth(model)


@pytest.fixture
def recorded(stack: Stack, project: str) -> Recorded:
    """``recorded()``: the run of this test."""
    return Recorded(stack.state.nats_url, project)


@pytest.fixture
def boss(bus: str, project: str) -> Iterator[Session]:
    """Another agent, who holds a task (`our_tools.HELD`)."""
    with Session(server=bus, project=project, agent="boss") as session, session.claim(HELD):
        yield session


@pytest.fixture
def gate(bus: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """The bus cannot be reached, until ``gate.open()``."""
    with Gate(bus) as shut:
        monkeypatch.setenv("TRACECRAFT_SERVER", shut.url)
        yield shut


@pytest.fixture
def deliver(gate: Gate, bus: str, cli: CommandLine) -> Callable[[], None]:
    """``deliver()``: the command line brings the bus what the framework's process had to leave in the spool.

    The gate stays shut meanwhile, or that process would deliver it by itself.
    """

    def deliver() -> None:
        from tracecraft.recording.spool import spools

        deadline = time.monotonic() + 30
        while not (left := spools()) or any(one.alive for one in left):
            assert time.monotonic() < deadline, f"nothing was given up: {left}"
            time.sleep(0.05)
        flushed = cli("spool", "flush", "--from", gate.url, "--json", env={"TRACECRAFT_SERVER": bus})
        assert flushed.returncode == 0, flushed.stderr
        delivered = json.loads(flushed.stdout)["result"]
        assert (delivered["events"], delivered["problem"]) == (sum(one.events for one in left), None)
        gate.open()

    return deliver
