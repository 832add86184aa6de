"""Help costs nothing, is there for every command, and shows how a command is used."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from tracecraft_cli.commands import inbox, memory
from tracecraft_cli.main import COMMANDS, main

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAVY = ("nats", "pydantic", "asyncio", "tracecraft", "msgspec", "rich", "yaml", "psycopg", "boto3")


def paths(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command below one, with the words that lead to it."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from paths(below, (*path, name))


def everything(name: str) -> list[tuple[tuple[str, ...], click.Command]]:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    return list(paths(command, (name,)))


def modules_loaded_by(*args: str) -> set[str]:
    code = (
        "import sys; from tracecraft_cli.main import main; sys.argv = ['tracecraft', *sys.argv[1:]]\n"
        "try: main(prog_name='tracecraft')\n"
        "finally: print('LOADED', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, timeout=30, check=False)
    return {name.partition(".")[0] for name in done.stdout.rpartition("LOADED")[2].split()}


@pytest.mark.parametrize("args", [("--help",), ("memory", "--help"), ("--version",)])
def test_help_imports_nothing_heavy(args: tuple[str, ...]) -> None:
    loaded = modules_loaded_by(*args)
    assert "tracecraft_cli" in loaded
    assert not loaded & set(HEAVY)


@pytest.mark.parametrize(
    "name", ["memory", "inbox", "send", "log", "agents", "init", "whoami", "messages", "completion"]
)
def test_the_help_of_a_command_imports_no_client_of_the_bus(name: str) -> None:
    assert not modules_loaded_by(name, "--help") & {"nats", "pydantic", "asyncio", "tracecraft"}


def test_the_table_of_commands_is_what_help_lists() -> None:
    shown = CliRunner().invoke(main, ["--help"]).output
    assert all(f"  {name} " in shown for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_and_json(name: str) -> None:
    for path, command in everything(name):
        outcome = CliRunner().invoke(main, [*path, "--help"])
        assert outcome.exit_code == 0, path
        if not isinstance(command, click.Group) or command.invoke_without_command:  # it does something by itself
            words = " ".join(outcome.output.split())
            assert re.search(rf"Examples?: .*tracecraft {path[0]}", words), path
            assert "--json" in words, path


@pytest.mark.parametrize(("group", "name"), [(memory.command, "memory"), (inbox.command, "inbox")])
def test_an_example_names_the_command_it_stands_with(group: click.Group, name: str) -> None:
    for path, command in paths(group, (name,)):
        example = (command.help or "").partition("Example: ")[2]
        assert example.startswith(f"tracecraft {name}"), path
        if not isinstance(command, click.Group):
            assert example.startswith(f"tracecraft {' '.join(path)}"), path


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--json", "memroy"], "No such command 'memroy'"),
        (["--json", "--wrong"], "No such option"),
        (["tasks", "--wrong", "--json"], "No such option"),
        (["claim", "--json"], "name the tasks"),
        (["send", "--json", "bob"], "Missing argument 'TEXT"),
        (["memory", "no-such", "--json"], "No such command"),
        (["--json"], "Missing command"),
    ],
)
def test_wrong_usage_is_told_as_json_too(args: list[str], says: str) -> None:
    outcome = CliRunner().invoke(main, args)
    assert outcome.exit_code == 2
    error = json.loads(outcome.stdout)
    assert (error["ok"], error["error"]["code"], error["error"]["type"]) == (False, 2, "UsageError")
    assert says in error["error"]["message"]
    assert outcome.stderr


def test_wrong_usage_is_told_as_json_when_the_environment_asks_for_it() -> None:
    assert json.loads(CliRunner().invoke(main, ["memroy"], env={"TRACECRAFT_JSON": "1"}).stdout)["ok"] is False
    assert CliRunner().invoke(main, ["memroy"], env={"TRACECRAFT_JSON": "0"}).stdout == ""
    assert CliRunner().invoke(main, ["claim", "T", "--", "x", "--json"]).stdout == ""


def test_an_unknown_command_is_wrong_usage() -> None:
    outcome = CliRunner().invoke(main, ["memroy"])
    assert outcome.exit_code == 2
    assert "No such command 'memroy'" in outcome.output
