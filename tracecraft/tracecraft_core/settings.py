"""Who we are and where the bus is: flag, environment, coding session, file, user config, running stack, NATS context.

The first place that names a setting decides it, and `Settings.origin` tells which it was. Every flag has an
environment twin ``TRACECRAFT_<NAME>``. ``.tracecraft.toml`` is looked for in the working folder and upwards. Without
any of these, a stack that ``tracecraft serve`` runs on this machine is found by its state file. A process inside of a
coding agent's session (its shell, its MCP server) is the agent that the session's sidecar made known.
"""

from __future__ import annotations

import os
import socket
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tracecraft_core import coding_session, contexts, local, names, trust, urls
from tracecraft_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracecraft_core.coding_session import CodingSession
    from tracecraft_core.transport import ServerOptions

FILE: Final = ".tracecraft.toml"
DEFAULT_PROJECT: Final = "default"
DEFAULT_SERVER: Final = "nats://127.0.0.1:4222"
_STACK: Final = "the stack"

DESCRIPTIONS: Final[Mapping[str, str]] = {
    "server": "URL of the NATS server, or several with commas: nats://token@host:4222",
    "project": "project name: agents of two projects never see each other",
    "agent": "name of this agent, unique in the project",
    "session": "name of this agent's session; another session of the same agent does not hold its claims",
    "context": "name of a NATS context (~/.config/nats/context)",
    "creds": "path of a NATS .creds file",
    "token": "NATS token",
    "user": "NATS user",
    "password": "NATS password",
    "nkey": "path of a file with an nkey seed",
    "tls_ca": "path of the certificate authority's certificate",
    "tls_cert": "path of the client's certificate",
    "tls_key": "path of the client's key",
    "inbox_prefix": "first tokens of the subjects for replies, where permissions protect them: _INBOX_writer",
}
"""Every setting and what it means; its environment twin is ``TRACECRAFT_`` and the name in capitals."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Resolved settings; make them with `load`."""

    project: str
    agent: str
    session: str | None
    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    origin: Mapping[str, str] = field(default_factory=dict)
    """Where each setting comes from, in words."""

    @property
    def server(self) -> str:
        """The servers, without secrets."""
        return ",".join(urls.without_secrets(server) for server in urls.split(self.values["server"]))

    @property
    def given(self) -> bool:
        """Whether somebody said where the bus is; else the stack of this machine was found, or the default is meant."""
        origin = self.origin.get("server", "given")
        return origin != "default" and not origin.startswith(_STACK)

    def server_options(self) -> ServerOptions:
        """How to reach the bus."""
        from tracecraft_core.transport import ServerOptions

        values = self.values
        return ServerOptions(
            servers=urls.split(values["server"]),
            token=values.get("token"),
            user=values.get("user"),
            password=values.get("password"),
            creds=_path(values, "creds"),
            nkey=_path(values, "nkey"),
            tls=_tls(values),
            tls_first=values.get("tls_first") == "true",
            inbox_prefix=values.get("inbox_prefix") or "_INBOX",
            js_prefix=_js_prefix(values),
            is_default=self.origin.get("server") == "default",
        )


def load(flags: Mapping[str, str | None] | None = None, *, folder: Path | None = None, coding: bool = True) -> Settings:
    """Resolve the settings.

    ``flags`` holds what the caller was told outright (``None`` and absent mean the same); ``coding=False`` asks as if
    this process ran in no coding agent. Raises `UsageError` for a file that is not valid TOML or has an unknown setting
    for a server that cannot be one, and for one that the file of a project names and nobody approved, and
    `InvalidName` for a project, agent or session.
    """
    layers = _Layers()
    session = coding_session.find() if coding else None
    layers.add({k: v for k, v in (flags or {}).items() if v is not None}, "given by the caller")
    layers.add(_environment(session), "environment variable TRACECRAFT_{}")
    if session is not None:
        layers.add(session.layer(), session.origin())
    project_file = find_file(folder or Path.cwd())
    if project_file:
        layers.add(read_file(project_file), str(project_file))
    user_file = user_config()
    if user_file.is_file():
        layers.add(read_file(user_file), str(user_file))
    _add_server(layers)
    values, origin = layers.values, layers.origin
    if "agent" not in values:
        layers.add({"agent": default_agent(project_file.parent if project_file else (folder or Path.cwd()))}, "derived")
    layers.add({"project": DEFAULT_PROJECT, "server": DEFAULT_SERVER}, "default")
    urls.check(values["server"], origin["server"])
    if project_file and origin["server"] == str(project_file):
        trust.check(values["server"], project_file, approved_servers())
    named = values.get("session")
    return Settings(
        project=names.project(values["project"]),
        agent=names.agent(values["agent"]),
        session=names.session(named) if named is not None else None,
        values=values,
        origin=origin,
    )


class _Layers:
    """Values in the order in which they decide."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.origin: dict[str, str] = {}

    def add(self, values: Mapping[str, str], origin: str) -> None:
        for name, value in values.items():
            if name not in self.values:
                self.values[name], self.origin[name] = value, origin.format(name.upper())


def _add_server(layers: _Layers) -> None:
    """Where the bus is when nobody said so: a named context, the stack that runs here, the selected context."""
    if "server" in layers.values:
        return
    named = layers.values.get("context")
    if named is not None:
        layers.add(contexts.read(named), f"NATS context {named}")
        return
    stack = local.running_stack()
    if stack is not None:
        layers.add({"server": stack.nats_url}, f"{_STACK} that runs in {stack.data}")
        return
    selected = contexts.selected()
    if selected is not None:
        layers.add(contexts.read(selected), f"selected NATS context {selected}")


def _environment(session: CodingSession | None = None) -> dict[str, str]:
    """What the environment says, but for what a coding session has already taken into account."""
    said = {name: os.environ[key] for name in DESCRIPTIONS if os.environ.get(key := f"TRACECRAFT_{name.upper()}")}
    return said if session is None else {k: v for k, v in said.items() if not session.overrules(k, v)}


def read_file(path: Path) -> dict[str, str]:
    """What a file of settings says. Raises `UsageError`."""
    try:
        with path.open("rb") as file:
            content: dict[str, Any] = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    for name, value in content.items():
        if name not in DESCRIPTIONS:
            raise UsageError(f"{path}: unknown setting {name!r}; known are {', '.join(DESCRIPTIONS)}")
        if not isinstance(value, str):
            raise UsageError(f'{path}: {name} must be a string, for example {name} = "..."')
    return content


def find_file(folder: Path) -> Path | None:
    """The nearest ``.tracecraft.toml`` in a folder or above it."""
    for place in (folder, *folder.parents):
        candidate = place / FILE
        if candidate.is_file():
            return candidate
    return None


def user_config() -> Path:
    """The user's own settings file."""
    return _config_dir() / "config.toml"


def state_dir() -> Path:
    """Where a one-shot agent remembers its session and its claims between commands."""
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "tracecraft"


def approved_servers() -> Path:
    """The file of the servers that the person lets projects' files name."""
    return _config_dir() / "approved-servers"


def _config_dir() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "tracecraft"


def default_agent(folder: Path) -> str:
    """A name for an agent that was not named: the folder's and the host's, so that two worktrees differ."""
    words = [names.agent_from_text(folder.name), names.from_text(socket.gethostname().split(".")[0])]
    return "-".join(word for word in words if word)[: names.MAX_TOKEN] or "agent"


def _path(values: Mapping[str, str], name: str) -> str | None:
    if name not in values:
        return None
    path = Path(values[name]).expanduser()
    if not path.is_file():
        raise UsageError(f"{name} {str(path)!r}: no such file")
    return str(path)


def _tls(values: Mapping[str, str]) -> Any:
    if not {"tls_ca", "tls_cert", "tls_key"} & values.keys():
        return None
    import ssl

    context = ssl.create_default_context(cafile=_path(values, "tls_ca"))
    certificate = _path(values, "tls_cert")
    if certificate:
        context.load_cert_chain(certificate, _path(values, "tls_key"))
    return context


def _js_prefix(values: Mapping[str, str]) -> str:
    domain = values.get("js_domain")
    return values.get("js_prefix") or (f"$JS.{domain}.API" if domain else "$JS.API")
