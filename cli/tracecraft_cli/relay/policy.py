"""What a sandbox may have a relay do: commands and options by name; whatever is not listed is refused.

Left out on purpose is what runs a program (``claim --exec``, ``run exec``, ``complete --verify``, and
``--changed-files-from-git``: git obeys the workspace's configuration), what opens a path by name, what deletes for
good, and what concerns this machine and not the project. Pure: no I/O.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tracecraft_cli.relay.outcomes import NotAllowed
from tracecraft_core import names, subjects

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracecraft_cli.relay.papers import Request

FROM_TOP: Final = "--from-top"
"""Says that paths are resolved already."""
MAX_WORDS: Final = 256
"""Most options and arguments of a request."""

ENVIRONMENT: Final = ("TRACECRAFT_RUN", "TRACEPARENT", "TRACECRAFT_TASK", "TRACECRAFT_FENCE")
"""What a command takes from the environment besides who it is."""
_MAX_VARIABLE: Final = 300


_FILTER: Final = re.compile(r"(?![a-z-]+$)[^-].*", re.DOTALL)
"""What ``runs`` takes for a filter and not for the name of a sub-command or an option."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What of one command a relay takes."""

    options: frozenset[str] = frozenset()
    queues: bool = False
    """It only writes, and can wait for a relay."""
    records: bool = False
    """It records into a run: whoever calls it goes on whether the bus has it or not."""
    waits: frozenset[str] = frozenset()
    """Options with which it blocks until others do something; ``*``: always."""
    stdin: bool = False
    """A ``-`` among its words stands for standard input."""
    attach: int | None = None
    """Place of the argument that is a path."""
    files: bool = False
    """Its arguments are paths of the repository, resolved inside: the relay takes them as they are, and opens none."""
    here: frozenset[str] = frozenset()
    """Options with which it needs no bus, and is run in the sandbox."""


def _rule(
    options: str = "",
    *,
    queues: bool = False,
    records: bool = False,
    waits: str = "",
    stdin: bool = False,
    attach: int | None = None,
    files: bool = False,
    here: str = "",
) -> Rule:
    flags = frozenset(f"--{name}" for name in options.split())
    blocking = frozenset(name if name == "*" else f"--{name}" for name in waits.split())
    local = frozenset(f"--{name}" for name in here.split())
    return Rule(flags, queues or records, records, blocking, stdin, attach, files, local)


_STEP: Final = (
    "kind status error input output seconds parent task model provider input-tokens cache-read-tokens "
    "cache-write-tokens output-tokens reasoning-tokens cost run"
)

RULES: Final[dict[tuple[str, ...], Rule]] = {
    ("memory", "set"): _rule("text if-revision if-absent if-better lower under", queues=True, stdin=True),
    ("memory", "get"): _rule("revision default"),
    ("memory", "list"): _rule("prefix"),
    ("memory", "delete"): _rule("if-revision", queues=True),
    ("memory", "history"): _rule("limit"),
    ("memory", "watch"): _rule("count timeout initial", waits="*"),
    ("memory", "incr"): _rule(queues=True),
    ("memory", "merge"): _rule(queues=True, stdin=True),
    ("send",): _rule("kind thread reply-to data wait-ack", queues=True, waits="wait-ack", stdin=True),
    ("broadcast",): _rule("kind thread reply-to data", queues=True, stdin=True),
    ("inbox",): _rule("watch peek limit from budget", waits="watch"),
    ("inbox", "ack"): _rule(queues=True),
    ("inbox", "show"): _rule(),
    ("messages",): _rule("sent limit"),
    ("claim",): _rule("next lease wait", waits="wait"),
    ("reserve",): _rule(
        "lease wait list release all check staged strict",
        waits="wait",
        files=True,
        here="install-git-hook uninstall-git-hook",
    ),
    ("renew",): _rule("lease"),
    ("release",): _rule("note", queues=True),
    ("complete",): _rule("note to next-action result status force reason", queues=True, stdin=True),
    ("wait-for",): _rule("any timeout or-message fail-on-lost", waits="*"),
    ("task", "add"): _rule("title after data", queues=True, stdin=True),
    ("task", "show"): _rule("history"),
    ("task", "list"): _rule("state"),
    ("tasks",): _rule("state"),
    ("plan", "apply"): _rule(queues=True, stdin=True, attach=0),
    ("run", "start"): _rule("param tag parent"),
    ("run", "log-metric"): _rule("step run", records=True),
    ("run", "log-param"): _rule("text run", records=True, stdin=True),
    ("run", "log-artifact"): _rule("kind step run", records=True, attach=1),
    ("run", "log-step"): _rule(_STEP, records=True, stdin=True),
    ("run", "end"): _rule("status reason run", records=True),
    ("runs",): _rule("sort limit columns"),
    ("runs", "inspect"): _rule("follow", waits="follow"),
    ("runs", "compare"): _rule("metric"),
    ("artifact", "list"): _rule("limit"),
    ("cost",): _rule("by since run"),
    ("agents",): _rule("all"),
    ("log",): _rule("follow subject since limit", waits="follow"),
}
"""By the words of the command."""

OUTSIDE: Final = frozenset(
    {("artifact", "get"), ("runs", "delete"), ("runs", "export"), ("runs", "import"), ("spool", "flush")}
)
"""What always needs a bus, and is done outside only."""


def rule_of(request: Request) -> Rule:
    """The rule of a request. Raises `NotAllowed`: the command, an option, or too much of it."""
    name = " ".join(request.command)
    rule = RULES.get(tuple(request.command))
    if rule is None:
        raise NotAllowed(f"{name[:60]!r} is nothing that a relay does for a sandbox: run it outside")
    for option, _ in request.options:
        if option not in rule.options:
            raise NotAllowed(f"'{name} {option[:60]}' is nothing that a relay does for a sandbox: run it outside")
    if len(request.options) + len(request.arguments) > MAX_WORDS:
        raise NotAllowed(f"over {MAX_WORDS} words: ask for less at a time")
    if request.command == ["inbox"] and request.arguments:
        raise NotAllowed("'inbox' takes no arguments")  # they would be a sub-command
    if request.command == ["runs"] and not all(map(_FILTER.fullmatch, request.arguments[:1])):
        raise NotAllowed(f"{request.arguments[0][:60]!r} is no filter of runs")
    if request.command == ["runs"] and len(request.arguments) > 1:
        raise NotAllowed("'runs' takes one filter")
    if ("--staged", None) in request.options and not request.arguments:
        raise NotAllowed("'reserve --staged' takes the files along: a relay does not ask git")
    if any("\0" in word for word in _words(request)):
        raise NotAllowed("a NUL character cannot be an argument")
    if request.stdin and not rule.stdin:
        raise NotAllowed(f"'{name}' reads no standard input")
    if (request.attached is not None) != _attaches(rule, request.arguments):
        raise NotAllowed(f"'{name}' takes a file only with its content")
    if not request.wait and not can_queue(rule, request.options):
        raise NotAllowed(f"'{name}' answers somebody who waits")
    return rule


def _words(request: Request) -> list[str]:
    return [*request.arguments, *(word for pair in request.options for word in pair if word is not None)]


def _attaches(rule: Rule, arguments: Sequence[str]) -> bool:
    return rule.attach is not None and len(arguments) > rule.attach and arguments[rule.attach] != "-"


def can_queue(rule: Rule, options: Sequence[tuple[str, str | None]]) -> bool:
    """Whether nobody needs to wait for it."""
    return rule.queues and not blocks(rule, options)


def blocks(rule: Rule, options: Sequence[tuple[str, str | None]]) -> bool:
    """Whether it may take until others do something."""
    return "*" in rule.waits or any(option in rule.waits for option, _ in options)


def argv(request: Request, attached: str | None) -> list[str]:
    """The command line, in which no value can be taken for an option. Raises `NotAllowed`, `InvalidName`."""
    rule = rule_of(request)
    words = list(request.arguments)
    if rule.attach is not None and attached is not None:
        words[rule.attach] = attached
    options = [option if value is None else f"{option}={value}" for option, value in request.options]
    if request.command == ["claim"] and any(word.startswith("-") for word in words):
        raise NotAllowed("no task begins with '-'")
    if rule.files and words:  # '--' would be followed by a program
        options.append(FROM_TOP)
        words = [f"./{word}" if word.startswith("-") else word for word in words]
    dashes = ["--"] if any(word.startswith("-") and word != "-" for word in words) else []
    return [*request.command, *(["--json"] if request.json else []), *options, *dashes, *words]


def environment(request: Request, *, project: str, agent: str | None) -> dict[str, str]:
    """Who it is for, and inside of which run. Raises `NotAllowed`, `InvalidName`.

    ``project`` is forced; so is ``agent``, where a relay names one.
    """
    if request.project not in (None, project):
        raise NotAllowed(f"this relay is for project {project}, not {request.project!r}")
    if names.agent(request.agent) == subjects.RESERVED_PROJECT:
        raise NotAllowed(f"{request.agent} is nobody's name")
    found = {"TRACECRAFT_PROJECT": project, "TRACECRAFT_AGENT": agent or request.agent}
    if request.session is not None:
        found["TRACECRAFT_SESSION"] = names.session(request.session)
    for name, value in request.environment.items():
        if name not in ENVIRONMENT or len(value) > _MAX_VARIABLE or not value.isprintable():
            raise NotAllowed(f"the variable {name[:60]!r} is nothing that a relay takes")
        found[name] = value
    return found
