"""A coding agent's session (Claude Code, Codex), and how the tracecraft processes inside of it find who they are.

The session's sidecar writes a small state file into a folder of the user. A process of ours looks among its own
ancestors for the coding agent's process, so that a command in the agent's shell and its MCP server are the same agent
and session, also when one coding agent runs inside of another. Where a sandbox hides the ancestors, the session id in
the environment finds the file. Every hook imports this module: standard library only, and little of it.
"""

from __future__ import annotations

import json
import os
import stat
import sys

TYPE_CHECKING = False  # `typing` itself costs a hook more than reading the file
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

KINDS: Final = {"claude": "Claude Code", "codex": "Codex"}
"""The coding agents that have a sidecar, and what people call them."""

VARIABLES: Final = {"codex": "CODEX_THREAD_ID", "claude": "CLAUDE_CODE_SESSION_ID"}
"""Environment variables with the session's id, the likeliest of two first: Codex sets its own only in its shell."""

MAX_NAME: Final = 64
"""Characters in a session's name; it is a run's id too."""

_SUFFIX: Final = ".json"
_MAX_STATE_BYTES: Final = 256 * 1024
_MAX_ANCESTORS: Final = 64
_SHELLS: Final = frozenset({"sh", "bash", "dash", "ash", "zsh", "fish", "ksh", "busybox", "env"})
_WRAPPERS: Final = frozenset(
    {"timeout", "gtimeout", "nice", "ionice", "nohup", "setsid", "stdbuf", "time", "taskset", "sudo", "doas", "strace"}
)
"""What may stand between a coding agent and its hook, by name."""


class Process:
    """A process that is still the one it was: pids are used again, the moment of its start is not."""

    __slots__ = ("command", "pid", "started")

    def __init__(self, pid: int, started: str, command: str = "") -> None:
        self.pid, self.started, self.command = pid, started, command

    def lives(self) -> bool:
        """Whether it still runs; a zombie runs no more."""
        found = _process(self.pid)
        return found is not None and found[0].started == self.started


class CodingSession:
    """What the sidecar of a session has written about it."""

    __slots__ = (
        "agent",
        "announced",
        "between",
        "held",
        "id",
        "inherited",
        "kind",
        "pid",
        "pid_started",
        "project",
        "run",
        "session",
        "settings",
        "sidecar",
        "sidecar_started",
        "socket",
        "started",
    )

    def __init__(self, **fields: Any) -> None:
        self.kind: str = fields["kind"]
        self.id: str = fields["id"]
        self.pid: int = fields.get("pid", 0)
        """Of the coding agent; 0 where it could not be found."""
        self.pid_started: str = fields.get("pid_started", "")
        self.sidecar: int = fields.get("sidecar", 0)
        self.sidecar_started: str = fields.get("sidecar_started", "")
        self.socket: str = fields.get("socket", "")
        self.started: float = fields.get("started", 0.0)
        self.agent: str = fields.get("agent", "")
        """Empty until the sidecar has been on the bus."""
        self.session: str = fields.get("session", "")
        self.run: str = fields.get("run", "")
        self.project: str = fields.get("project", "")
        self.settings: dict[str, str] = fields.get("settings", {})
        """What the coding agent's environment and the file of its project said; it may hold a token."""
        self.inherited: dict[str, str] = fields.get("inherited", {})
        """Who the coding agent's environment said it is: a wish to the sidecar, and `agent` is what came of it."""
        self.held: dict[str, int] = fields.get("held", {})
        """Tasks that the session holds, with their fences: a sidecar that comes after a killed one tells of losses."""
        self.announced: int = fields.get("announced", 0)
        """The highest id of a message of which the model was told: it is not told again by the next sidecar."""
        self.between: bool = fields.get("between", False)
        """The agent has left one conversation and has not begun the next (``/clear``): the sidecar waits for it."""

    @property
    def name(self) -> str:
        """What the session is called everywhere: ``claude-1a2b…``."""
        return name(self.kind, self.id)

    def origin(self) -> str:
        """Where a setting comes from that this session decided, in words."""
        return f"the {KINDS.get(self.kind, self.kind)} session {self.id[:8]}"

    def layer(self) -> dict[str, str]:
        """The settings of a process inside of the session."""
        who = {"agent": self.agent, "session": self.session, "project": self.project}
        return {**self.settings, **{key: value for key, value in who.items() if value}}

    def overrules(self, setting: str, value: str) -> bool:
        """Whether the environment only repeats what the coding agent was started with."""
        return bool(self.agent) and setting in ("agent", "session") and self.inherited.get(setting) == value

    def sidecar_lives(self) -> bool:
        """Whether its sidecar still runs."""
        return bool(self.sidecar) and Process(self.sidecar, self.sidecar_started).lives()

    def makes_sense(self) -> bool:
        """Whether each field is of its kind."""
        like = CodingSession(kind="", id="")
        return all(
            type(value := getattr(self, key)) is type(usual := getattr(like, key))
            or (isinstance(usual, float) and isinstance(value, int))
            for key in self.__slots__
        )

    def dump(self) -> bytes:
        """As it is stored."""
        return json.dumps({key: getattr(self, key) for key in self.__slots__}).encode()


def name(kind: str, id_: str) -> str:
    """The name of a session, which is its run's id too: what a name must not have becomes ``-``."""
    safe = "".join(char if char.isascii() and (char.isalnum() or char in "_-") else "-" for char in id_)
    return f"{kind}-{safe}"[:MAX_NAME]


def find() -> CodingSession | None:
    """The session inside of which this process runs, or ``None``."""
    known = list(sessions())
    if not known:
        return None
    ids = [os.environ[variable] for variable in VARIABLES.values() if os.environ.get(variable)]
    for process in ancestors():
        here = [one for one in known if (one.pid, one.pid_started) == (process.pid, process.started)]
        if here:  # one process may have several: Codex serves all threads of an editor from one
            return max(here, key=lambda one: (one.id in ids, one.started))
    named = [one for id_ in ids for one in known if one.id == id_]
    return named[0] if named else None


def sessions() -> Iterator[CodingSession]:
    """The sessions that have a state file."""
    for folder in folders():
        if is_private(folder):
            for entry in sorted(os.listdir(folder)):
                found = read(os.path.join(folder, entry)) if entry.endswith(_SUFFIX) else None
                if found is not None:
                    yield found


def folders() -> list[str]:
    """Where state files may be: the places that the environment names, and the usual ones.

    A coding agent may keep the environment from its MCP server and its shell.
    """
    usual = _places(f"/run/user/{os.getuid()}", os.path.expanduser("~/.local/state"), "/tmp")
    return list(dict.fromkeys([*places(), *usual]))


def places() -> list[str]:
    """Where a sidecar may put its files, the best place first: the runtime folder, the state folder, one in /tmp."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return _places(os.environ.get("XDG_RUNTIME_DIR"), state, os.environ.get("TMPDIR") or "/tmp")


def _places(runtime: str | None, state: str, short: str) -> list[str]:
    return [
        *([os.path.join(runtime, "tracecraft")] if runtime else []),
        os.path.join(state, "tracecraft", "coding"),
        os.path.join(short, f"tracecraft-{os.getuid()}"),
    ]


def own_folder() -> str | None:
    """The first of `places` that can be used, made if need be; ``None`` when none can be written to."""
    for folder in places():
        try:
            os.makedirs(os.path.dirname(folder), mode=0o700, exist_ok=True)
            os.mkdir(folder, 0o700)
        except FileExistsError:
            pass
        except OSError:
            continue
        if is_private(folder) and os.access(folder, os.W_OK | os.X_OK):
            return folder
    return None


def is_private(folder: str) -> bool:
    """Whether a folder is ours and closed to everybody else: what lies in it was written by this user."""
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def state_file(folder: str, session: str) -> str:
    """Where the state of a session of this name stands."""
    return os.path.join(folder, session + _SUFFIX)


def named(session: str) -> CodingSession | None:
    """The session of this name."""
    for folder in folders():
        found = read(state_file(folder, session)) if is_private(folder) else None
        if found is not None:
            return found
    return None


def read(path: str) -> CodingSession | None:
    """What a state file says; ``None`` for none, or one that is half written or not ours."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # nobody may write to a pipe
        with open(handle, "rb") as file:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid() or found.st_size > _MAX_STATE_BYTES:
                return None
            session = CodingSession(**json.loads(file.read(_MAX_STATE_BYTES)))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return session if session.makes_sense() else None


def write(folder: str, session: CodingSession) -> None:
    """Replace the state file of a session, whole, for this user only. Raises ``OSError``."""
    path = state_file(folder, session.name)
    fresh = f"{path}.{os.getpid()}"
    with open(os.open(fresh, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
        file.write(session.dump())
    os.replace(fresh, path)


def coding_agent() -> Process | None:
    """The process that runs this hook: the nearest ancestor that does not only hand the event on.

    A shell, a wrapper known by name, and whatever reads the very input that we read were started for this hook; the
    coding agent writes that input.
    """
    input_ = _input_of("self")
    for process in ancestors():
        hands_on = process.command.lstrip("-") in _SHELLS | _WRAPPERS
        if not hands_on and (input_ is None or _input_of(process.pid) != input_):
            return process if process.pid > 1 or process.command else None
    return None


def _input_of(pid: int | str) -> tuple[int, int] | None:
    """Which pipe or socket a process reads; ``None`` where the system does not say, or it is something else."""
    try:
        found = os.stat(f"/proc/{pid}/fd/0")
    except OSError:
        return None
    piped = stat.S_ISFIFO(found.st_mode) or stat.S_ISSOCK(found.st_mode)
    return (found.st_dev, found.st_ino) if piped else None


def ancestors() -> Iterator[Process]:
    """The processes above this one, nearest first."""
    pid = os.getppid()
    for _ in range(_MAX_ANCESTORS):
        found = _process(pid) if pid > 0 else None
        if found is None:
            return
        process, pid = found
        yield process


def this_process() -> Process:
    """The process that runs this."""
    found = _process(os.getpid())
    return found[0] if found else Process(os.getpid(), "")


def _process(pid: int) -> tuple[Process, int] | None:
    """A process that is no zombie, and the pid of its parent."""
    return _from_proc(pid) if sys.platform == "linux" else _from_ps(pid)


def _from_proc(pid: int) -> tuple[Process, int] | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return None
    before, _, after = text.rpartition(")")
    fields = after.split()
    if fields[0] in ("Z", "X"):
        return None
    return Process(pid, fields[19], before.partition("(")[2]), int(fields[1])


def _from_ps(pid: int) -> tuple[Process, int] | None:
    import subprocess

    try:
        asked = ["ps", "-o", "stat=,ppid=,lstart=,comm=", "-p", str(pid)]
        line = subprocess.run(asked, capture_output=True, text=True, timeout=2, check=False, env={"LC_ALL": "C"}).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    words = line.split(None, 7)  # S 123 Sun Nov 22 19:34:15 2026 /bin/claude
    if len(words) < 8 or words[0].startswith("Z"):
        return None
    return Process(pid, " ".join(words[2:7]), os.path.basename(words[7].strip())), int(words[1])
