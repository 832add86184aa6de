"""What a relay does for a sandbox, and what it refuses, whatever the request looks like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import pytest

from tests.support.sandbox import request
from tracecraft_cli.main import main
from tracecraft_cli.relay import policy
from tracecraft_cli.relay.outcomes import NotAllowed
from tracecraft_core.errors import InvalidName

if TYPE_CHECKING:
    from collections.abc import Sequence


def found(words: Sequence[str]) -> click.Command:
    command: click.Command | None = main
    for word in words:
        assert isinstance(command, click.Group), words
        command = command.get_command(click.Context(command), word)
    assert command is not None, words
    return command


@pytest.mark.parametrize("words", policy.RULES, ids=" ".join)
def test_every_rule_is_about_a_command_and_options_that_there_are(words: tuple[str, ...]) -> None:
    options = {name for parameter in found(words).params for name in parameter.opts}
    assert policy.RULES[words].options <= options


@pytest.mark.parametrize(
    ("command", "fields"),
    [
        (["claim"], {"options": [("--exec", None)], "arguments": ["T"]}),
        (["run", "exec"], {"arguments": ["x", "--", "sh"]}),
        (["complete"], {"options": [("--verify", "sh")], "arguments": ["T"]}),
        (["complete"], {"options": [("--changed-files-from-git", None)], "arguments": ["T"]}),
        (["serve"], {}),
        (["stop"], {}),
        (["relay"], {}),
        (["runs", "delete"], {"arguments": ["r"]}),
        (["runs", "import"], {"arguments": ["/etc/passwd"]}),
        (["runs", "export"], {"arguments": ["r"], "options": [("--output", "/tmp/x")]}),
        (["runs", "compare"], {"arguments": ["r", "s"], "options": [("--html", "/tmp/x")]}),
        (["runs", "verify"], {"arguments": ["/etc/passwd"]}),
        (["replay"], {"arguments": ["/etc/passwd"]}),
        (["artifact", "get"], {"arguments": ["r", "n"]}),
        (["send"], {"arguments": ["w", "x"], "options": [("--server", "nats://elsewhere")]}),
        (["send"], {"arguments": ["w", "x"], "options": [("--creds", "/home/me/.creds")]}),
        (["send"], {"arguments": ["w", "x"], "options": [("--agent", "chief")]}),
        (["reserve"], {"options": [("--exec", None)], "arguments": ["x"]}),
        (["reserve"], {"options": [("--check", None), ("--staged", None)]}),
        (["reserve"], {"options": [("--install-git-hook", None)]}),
        (["reserve"], {"options": [("--from-top", None)], "arguments": ["x"]}),
        (["no-such"], {}),
        ([], {"arguments": ["serve"]}),
        (["memory"], {"arguments": ["set", "k", "v"]}),
        (["inbox"], {"arguments": ["ack", "1"]}),
        (["runs"], {"arguments": ["export", "r"]}),
        (["runs"], {"arguments": ["delete"]}),
        (["runs"], {"arguments": ["--html"]}),
        (["runs"], {"arguments": ["cost > 1", "x"]}),
        (["claim"], {"arguments": ["--exec", "--", "sh"]}),
        (["tasks"], {"stdin": True}),
        (["tasks"], {"attached": "x"}),
        (["plan", "apply"], {"arguments": ["/etc/passwd"]}),
        (["run", "log-artifact"], {"arguments": ["name", "/etc/passwd"]}),
        (["memory", "set"], {"arguments": ["k"] * 300}),
        (["send"], {"arguments": ["w", "a\0b"]}),
        (["memory", "get"], {"arguments": ["k"], "wait": False}),
        (["send"], {"arguments": ["w", "x"], "options": [("--wait-ack", "9")], "wait": False}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value)[:60],
)
def test_what_is_not_listed_is_refused(command: list[str], fields: dict[str, Any]) -> None:
    with pytest.raises(NotAllowed):
        policy.argv(request(*command, **fields), None)


@pytest.mark.parametrize(
    ("words", "options", "arguments"),
    [
        (("send",), [("--data", "--json")], ["w2", "--agent=chief"]),
        (("memory", "set"), [("--text", None), ("--under", "-x")], ["k", "--server"]),
        (("task", "add"), [("--after", "a"), ("--after", "--creds")], ["T"]),
        (("run", "log-metric"), [("--step", "3")], ["loss", "-0.5"]),
        (("claim",), [("--next", ">")], []),
        (("reserve",), [("--check", None)], ["src/**", "[-]x", "a b"]),
    ],
    ids=str,
)
def test_a_value_is_never_taken_for_an_option(
    words: tuple[str, ...], options: list[tuple[str, str | None]], arguments: list[str]
) -> None:
    argv = policy.argv(request(*words, options=options, arguments=arguments), None)
    assert tuple(argv[: len(words)]) == words
    command = found(words)
    with command.make_context(words[-1], argv[len(words) :]) as context:
        common = [context.params[name] for name in ("server", "project", "agent", "session", "context", "creds")]
        given = [context.params[parameter.name or ""] for parameter in command.params]
        flat = [str(one) for value in given for one in (value if isinstance(value, tuple) else (value,))]
    assert common == [None] * 6
    assert {*arguments, *(value for _, value in options if value is not None)} <= set(flat)


def test_a_path_that_looks_like_an_option_or_like_the_dashes_is_a_path() -> None:
    given = ["-x", "--", "--exec", "--install-git-hook", "src/**"]
    argv = policy.argv(request("reserve", arguments=given), None)
    assert argv == ["reserve", "--from-top", "./-x", "./--", "./--exec", "./--install-git-hook", "src/**"]
    with found(["reserve"]).make_context("reserve", argv[1:]) as context:
        assert context.params["globs"] == tuple(argv[2:])
        assert (context.params["executes"], context.params["install_git_hook"]) == (False, False)


def test_the_project_is_the_relays_and_the_agent_may_be() -> None:
    asked = request("tasks", agent="w1", session="s", environment={"TRACECRAFT_RUN": "r"})
    assert policy.environment(asked, project="p", agent=None) == {
        "TRACECRAFT_PROJECT": "p",
        "TRACECRAFT_AGENT": "w1",
        "TRACECRAFT_SESSION": "s",
        "TRACECRAFT_RUN": "r",
    }
    assert policy.environment(asked, project="p", agent="pinned")["TRACECRAFT_AGENT"] == "pinned"
    with pytest.raises(NotAllowed, match="this relay is for project p, not 'q'"):
        policy.environment(request("tasks", project="q"), project="p", agent=None)


@pytest.mark.parametrize(
    "environment",
    [{"LD_PRELOAD": "x"}, {"TRACECRAFT_SERVER": "x"}, {"TRACECRAFT_RUN": "a\nb"}, {"TRACECRAFT_RUN": "a" * 1000}],
    ids=["foreign", "server", "newline", "long"],
)
def test_only_what_a_command_takes_from_the_environment_goes_through(environment: dict[str, str]) -> None:
    with pytest.raises(NotAllowed):
        policy.environment(request("tasks", environment=environment), project="p", agent=None)


@pytest.mark.parametrize("agent", ["a.b", "", "*", "_tracecraft"])
def test_a_name_that_is_none_or_the_bridges_is_refused(agent: str) -> None:
    with pytest.raises((NotAllowed, InvalidName)):
        policy.environment(request("tasks", agent=agent), project="p", agent="pinned")
