"""A project's file may name a server of this machine, and any that the person approved."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tracecraft_core import settings, trust
from tracecraft_core.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder, and nothing configured or approved."""
    for name in ("TRACECRAFT_SERVER", "TRACECRAFT_PROJECT", "TRACECRAFT_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


def write(folder: Path, server: str) -> None:
    (folder / settings.FILE).write_text(f'server = "{server}"\n')


@pytest.mark.parametrize(
    "server",
    ["nats://elsewhere:4222", "elsewhere", "nats://127.0.0.1:4222,nats://elsewhere", "nats://127.0.0.1.elsewhere.com"],
)
def test_a_server_elsewhere_is_refused_until_it_is_approved(folder: Path, server: str) -> None:
    write(folder, server)
    with pytest.raises(UsageError, match=r"names the server nats://.*tracecraft trust' approves it"):
        settings.load()
    trust.approve(server, settings.approved_servers())
    assert settings.load().values["server"] == server
    assert trust.revoke(server, settings.approved_servers())
    with pytest.raises(UsageError, match="not approved"):
        settings.load()


@pytest.mark.parametrize("server", ["nats://127.0.0.1:4222", "nats://t@localhost", "tls://[::1]:1", "127.0.0.9:1"])
def test_a_server_on_this_machine_needs_no_approval(folder: Path, server: str) -> None:
    write(folder, server)
    assert settings.load().values["server"] == server


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_another_user_may_not_even_name_a_server_on_this_machine(folder: Path) -> None:
    write(folder, "nats://127.0.0.1:4222")
    os.chown(folder / settings.FILE, 65534, 65534)
    with pytest.raises(UsageError, match="not approved"):
        settings.load()


def test_a_server_that_the_person_named_goes_before_the_file_and_needs_no_approval(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, "nats://elsewhere")
    assert settings.load({"server": "nats://mine"}).values["server"] == "nats://mine"
    monkeypatch.setenv("TRACECRAFT_SERVER", "nats://mine")
    assert settings.load().values["server"] == "nats://mine"


def test_an_approval_is_of_the_server_whatever_its_token_and_not_of_another_port(folder: Path) -> None:
    approved = settings.approved_servers()
    assert trust.approve("nats://token@Team.example.com:4222", approved) == ["nats://team.example.com:4222"]
    assert "token" not in approved.read_text()
    write(folder, "nats://other@team.example.com:4222")
    assert settings.load().server == "nats://team.example.com:4222"
    write(folder, "nats://team.example.com:4223")
    with pytest.raises(UsageError, match="not approved"):
        settings.load()


def test_approving_again_and_revoking_what_is_not_approved_change_nothing() -> None:
    approved = settings.approved_servers()
    assert trust.revoke("nats://a:1", approved) == []
    trust.approve("nats://a:1,nats://b:1", approved)
    trust.approve("nats://a:1", approved)
    assert sorted(trust.listed(approved)) == ["nats://a:1", "nats://b:1"]
