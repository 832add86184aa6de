"""Inside of a sandbox: a command becomes a request, and either waits for its answer or for a relay to come."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from click.core import ParameterSource

from tracecraft_cli import output
from tracecraft_cli.relay import papers, policy
from tracecraft_cli.relay.outcomes import FolderTrouble, NoRelay, NotAllowed, NotRelayed, Queued, RelaySilent
from tracecraft_cli.relay.papers import Request
from tracecraft_cli.relay.placed import Placed, beat
from tracecraft_core import sandbox, settings
from tracecraft_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracecraft_cli.options import Common
    from tracecraft_cli.relay.papers import Answer
    from tracecraft_cli.relay.policy import Rule
    from tracecraft_core.settings import Settings

PROBE_S: Final = 1.0
"""Seconds for a server to take a connection, where only the environment speaks of a sandbox."""
_PORTS: Final = {"ws": 80, "wss": 443}
_FILTER: Final = "tracecraft.filter"
"""Where ``runs`` keeps its filter (`commands.runs`)."""


def divert(common: Common, context: click.Context) -> None:
    """Have a relay do this command, and exit as it does; returns when it is to be run here."""
    command = _words(context)
    rule = policy.RULES.get(command)
    if (rule is None and command not in policy.OUTSIDE) or context.invoked_subcommand is not None:
        return

    from tracecraft_cli.runner import guard

    options = _options(context)
    if rule is not None and any(option in rule.here for option, _ in options):
        return
    code: int | None = None

    def work() -> None:
        nonlocal code
        try:
            resolved = settings.load(common.flags)
        except UsageError:
            if ("--staged", None) in options:
                return  # it knows what becomes of a commit then
            raise
        if sandbox.inside() or not answers(resolved):
            code = _ask(common, resolved, command, options, _arguments(context))

    guard(common.as_json, work)
    if code is not None:
        sys.exit(code)


def _ask(
    common: Common,
    resolved: Settings,
    command: tuple[str, ...],
    options: list[tuple[str, str | None]],
    arguments: list[str],
) -> int:
    """Ask for a command, as often as its words are too many for one request."""
    rule = policy.RULES.get(command)
    if rule is None or not rule.files:
        return _Asking(common, _rule(command, options), resolved, command, options, arguments).ask()

    from tracecraft_cli.relay import files

    if files.STAGED not in options:
        options, arguments = files.resolved(options, arguments)
        return _Asking(common, _rule(command, options), resolved, command, options, arguments).ask()
    rule = _rule(command, options)
    return files.check_commit(
        lambda staged: _Asking(common, rule, resolved, command, options, staged).ask(),
        strict=files.STRICT in options,
        as_json=common.as_json,
    )


def _rule(command: tuple[str, ...], options: Sequence[tuple[str, str | None]]) -> Rule:
    """The rule of what a relay does. Raises `NotRelayed`."""
    rule = policy.RULES.get(command)
    foreign = "" if rule is None else next((option for option, _ in options if option not in rule.options), None)
    if rule is None or foreign is not None:
        raise NotRelayed(f"{' '.join(command)} {foreign}".strip())
    return rule


def _words(context: click.Context) -> tuple[str, ...]:
    words = []
    while context.parent is not None:
        words.append(context.info_name or "")
        context = context.parent
    return tuple(reversed(words))


def _options(context: click.Context) -> list[tuple[str, str | None]]:
    """What was given, also by the environment, which the relay does not have; the common ones are apart."""
    from tracecraft_cli.options import FLAGS

    found: list[tuple[str, str | None]] = []
    for option in context.command.params:
        name = option.name or ""
        given = context.get_parameter_source(name) in (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
        if not isinstance(option, click.Option) or not given or name in FLAGS or name == "as_json":
            continue
        value, flag = context.params.get(name), next(one for one in option.opts if one.startswith("--"))
        if option.is_flag:
            found += [(flag, None)] if value else []
        else:
            found += [(flag, str(one)) for one in (value if isinstance(value, tuple) else (value,))]
    return found


def _arguments(context: click.Context) -> list[str]:
    found = [context.meta[_FILTER]] if context.meta.get(_FILTER) else []
    for argument in context.command.params:
        value = context.params.get(argument.name or "")
        if isinstance(argument, click.Argument) and value is not None:
            found += [str(one) for one in (value if isinstance(value, tuple) else (value,))]
    return found


def answers(resolved: Settings) -> bool:
    """Whether one of the servers takes connections."""
    import socket
    from urllib.parse import urlsplit

    from tracecraft_core import urls

    for url in urls.split(resolved.values["server"]):
        parts = urlsplit(url)
        place = (parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 4222))
        with contextlib.suppress(OSError), socket.create_connection(place, PROBE_S):
            return True
    return False


@dataclass(frozen=True, slots=True)
class _Asking:
    """One command and what becomes of it."""

    common: Common
    rule: Rule
    resolved: Settings
    command: tuple[str, ...]
    options: list[tuple[str, str | None]]
    arguments: list[str]

    def ask(self) -> int:
        """The exit code. Raises what `outcomes` has."""
        workspace = sandbox.workspace()
        if not workspace.is_dir():
            raise UsageError(f"{sandbox.RELAY}={workspace} is no folder: name the workspace of the relay, or unset it")
        folder = workspace / sandbox.FOLDER
        waits = beat(folder) is not None
        queues = policy.can_queue(self.rule, self.options)
        if not waits and not queues:
            raise NoRelay(str(workspace), " ".join(self.command))
        stdin = self._stdin()
        request = self._request(waits, stdin is not None)
        try:
            placed = Placed.put(folder, request, stdin, self._attached())
        except OSError as error:
            raise FolderTrouble(str(folder), error.strerror or str(error)) from None
        with contextlib.closing(placed):
            answer = placed.wait(queues) if waits else None
            if answer is None:
                return self._queued(request.id, workspace)
            return _tell(request.id, answer, placed)

    def _request(self, waits: bool, stdin: bool) -> Request:
        values, origin = self.resolved, self.resolved.origin
        attached = self._attached()
        return Request(
            id=papers.new_id(),
            command=list(self.command),
            options=self.options,
            arguments=[_text(word) for word in self.arguments],
            json=self.common.as_json,
            agent=values.agent,
            project=None if origin.get("project") == "default" else values.project,
            session=values.session,
            environment={name: os.environ[name] for name in policy.ENVIRONMENT if os.environ.get(name)},
            stdin=stdin,
            attached=attached.absolute().name if attached is not None else None,
            wait=waits,
            time=time.time(),
        )

    def _stdin(self) -> bytes | None:
        words = [*self.arguments, *(value for _, value in self.options)]
        if not self.rule.stdin or "-" not in words:
            return None
        content = sys.stdin.buffer.read(papers.MAX_STDIN + 1)
        if len(content) > papers.MAX_STDIN:
            raise UsageError(f"standard input is over {papers.MAX_STDIN:,} bytes, more than a relay takes")
        return content

    def _attached(self) -> Path | None:
        place = self.rule.attach
        if place is None or len(self.arguments) <= place or self.arguments[place] == "-":
            return None
        path = Path(self.arguments[place])
        if not path.exists():
            raise UsageError(f"{path}: no such file or folder")
        return path

    def _queued(self, id_: str, workspace: Path) -> int:
        queued = Queued(id_, str(workspace))
        if not self.rule.records:
            raise queued
        output.note(f"tracecraft: {queued}")
        result = {"queued": True, "request": id_, "delivered": False}
        output.emit(self.common.as_json, result, None)
        return 0


def _tell(id_: str, answer: Answer, placed: Placed) -> int:
    """The exit code of an answer. Raises `NotAllowed`, `RelaySilent`."""
    if answer.state == "refused":
        placed.collect()
        raise NotAllowed(f"the relay refuses: {answer.message}")
    if answer.state != "acked":
        raise RelaySilent(id_, answer.message or f"the relay says: {answer.state}")
    placed.collect()
    if answer.truncated:
        output.note("tracecraft: the relay has cut the output: ask for less")
    return answer.exit_code


def _text(word: str) -> str:
    try:
        word.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(f"{word!r} is not UTF-8 text: encode it first, for example with base64") from None
    return word
