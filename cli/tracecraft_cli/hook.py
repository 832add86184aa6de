"""``tracecraft-hook``: what a coding agent runs at every event. It asks the session's sidecar, and waits only briefly.

The event comes as JSON on standard input; what the sidecar answers goes to standard output. A sidecar that is gone or
hangs, a bus that is away, an event that makes no sense: nothing is printed but ``{}``, nothing on standard error, and
the exit code is 0, for a coding agent must never be stopped by us. This is a process for every tool call of an agent:
standard library only, and it ends without tidying up.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # built in: `signal` itself imports for 3 ms before it is there
import os
import sys

if __name__ == "__main__" or os.path.basename(sys.argv[0]).startswith("tracecraft-hook"):
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)  # Ctrl-C is for the coding agent; other imports come after this

import json
import select
import signal
import time

from tracecraft_core import coding_session

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any, Final

    from tracecraft_core.coding_session import CodingSession, Process

DEADLINES: Final = {
    "SessionStart": 0.06,
    "UserPromptSubmit": 0.07,
    "PreToolUse": 0.07,
    "PostToolUse": 0.05,
    "Stop": 0.06,
    "SessionEnd": 0.06,
}
"""The events that we answer, and for how many seconds each waits for the sidecar."""

FIRST_PROMPT_S: Final = 0.8
"""Seconds that the first prompt waits for a sidecar that has just been started: the model learns who it is."""

DEADLINE_VARIABLE: Final = "TRACECRAFT_HOOK_DEADLINE"
"""Seconds in place of all of these, for a machine on which they are too short."""

STARTING_S: Final = 10.0
"""Seconds for which nobody starts a second sidecar for a session; one that dies at once is not started for ever."""

EDITS: Final = frozenset({"Edit", "Write", "MultiEdit", "NotebookEdit", "apply_patch"})
"""Tools that change files."""

INPUT_S: Final = 2.0
"""Seconds that each piece of the event may take to come."""

MAX_INPUT_BYTES: Final = 64 << 20
MAX_PATCH_CHARACTERS: Final = 40_000
"""Of the headlines of a patch that are passed on; of a patch that has more, that it has more."""

MAX_WORDS: Final = 4_096
"""Characters of each field that is passed on."""

NOTHING: Final = b"{}\n"
_LARGE: Final = 256 << 10
_PATCH: Final = "*** Begin Patch"
_FRAME: Final = 64
"""Characters round a patch in what is passed on."""

HERE: Final = ("", None)
"""Where a patch is applied that is no shell command's: in the folder of the event (`tracecraft_cli.shell_patches`)."""


def main() -> None:
    """Answer one event; end with 0 whatever happens."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        event = event_of(_read_input(), os.environ)
        answered = event is not None and _ask(event)
    except BaseException:  # whatever it is, the coding agent must not notice
        answered = False
    if not answered:
        _say(NOTHING)
    os._exit(0)


def event_of(payload: bytes, environ: Any) -> dict[str, Any] | None:
    """What of an event goes to the sidecar: bounded words, never what a tool answered. ``None``: nothing to ask."""
    said = _parse(payload)
    name, id_ = said.get("hook_event_name"), said.get("session_id")
    if name not in DEADLINES or not isinstance(id_, str) or not id_:
        return None
    event = {
        "event": name,
        "id": id_[:MAX_WORDS],
        "kind": _kind(said, id_, environ),
        "cwd": _text(said, "cwd"),
        "transcript": _text(said, "transcript_path"),
        "source": _text(said, "source"),
        "reason": _text(said, "reason"),
        "again": said.get("stop_hook_active") is True,
        "subagent": bool(said.get("agent_id")),
        "tool": _text(said, "tool_name"),
    }
    if name == "PreToolUse":
        edited = _edited(event["tool"], said.get("tool_input"))
        return event | edited if edited else None
    return event


def _parse(payload: bytes) -> dict[str, Any]:
    """The event; of a large one not what the tool answered, which comes last and is not looked at."""
    if len(payload) > _LARGE:
        before, found, _ = payload.partition(b',"tool_response":')
        try:
            if found:
                return _object(json.loads(_decoded(before + b"}")))
        except ValueError:
            pass  # these words stood inside of something: read all of it
    return _object(json.loads(_decoded(payload)))


def _decoded(payload: bytes) -> str:
    """What is no UTF-8 becomes a question mark: the rest of the event, and the files that it names, still count."""
    return payload.decode("utf-8-sig", "replace")


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(said: dict[str, Any], key: str) -> str:
    value = said.get(key)
    return value[:MAX_WORDS] if isinstance(value, str) else ""


def _kind(said: dict[str, Any], id_: str, environ: Any) -> str:
    """Which coding agent asks: both send the same fields, but for a few."""
    if environ.get("CLAUDE_CODE_SESSION_ID") == id_:
        return "claude"
    ours = "turn_id" in said or "rollout-" in _text(said, "transcript_path").rpartition("/")[2]
    return "codex" if ours or (said["hook_event_name"] == "SessionStart" and "model" in said) else "claude"


def _edited(tool: str, given: Any) -> dict[str, Any]:
    """The files that a tool call would change, as the tool names them; of a patch its headlines."""
    given = _object(given)
    patches: list[dict[str, Any]] = []
    more = False
    command = given.get("command") or given.get("input")
    if isinstance(command, list):  # the words of a command line
        command = "\n".join(word for word in command if isinstance(word, str))
    if isinstance(command, str) and _PATCH in command:  # Codex takes a patch in its shell for an edit, too
        patches, more = _patches(command, in_shell=tool not in EDITS)
    named = [given.get(key) for key in ("file_path", "notebook_path", "path")] if tool in EDITS else []
    paths = [path for path in named if isinstance(path, str)]
    more = more or any(len(path) > MAX_WORDS for path in paths)
    if not (patches or paths or more):
        return {}
    return {"patches": patches, "paths": [path[:MAX_WORDS] for path in paths], "more": more}


def _patches(command: str, *, in_shell: bool) -> tuple[list[dict[str, Any]], bool]:
    """The lines that may name a file, by the folder that they are for, and whether there are more than are passed on.

    Codex reads a headline with blanks before it, and ends a line only with a line feed.
    """
    places: dict[int, tuple[str, str | None]] = {}
    other: tuple[str, str | None] = HERE
    if in_shell:
        from tracecraft_cli import shell_patches

        places, other = shell_patches.places(command), shell_patches.UNKNOWN
    taken: dict[Any, list[str]] = {}
    room = MAX_PATCH_CHARACTERS
    more = False
    for number, line in enumerate(command.split("\n")):
        headline = line.lstrip()
        if headline.startswith("*** "):
            place = places.get(number, other)
            room -= len(headline) + 1 + (0 if place in taken else sum(map(len, filter(None, place))) + _FRAME)
            if room < 0:
                more = True
                break
            taken.setdefault(place, []).append(headline)
    return [
        {"text": "\n".join(lines), "folder": folder, "under": under} for (folder, under), lines in taken.items()
    ], more


def line_of(event: dict[str, Any]) -> bytes:
    """An event as it goes to the sidecar; half a character, which JSON may hold and a file's name may not, is replaced.

    What makes a file of such a name (JavaScript) replaces it by the same.
    """
    text = json.dumps(event, ensure_ascii=False)
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode() + b"\n"


def _read_input() -> bytes:
    pieces, size = [], 0
    while size < MAX_INPUT_BYTES and select.select([0], [], [], INPUT_S)[0] and (piece := os.read(0, 1 << 20)):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)


def _ask(event: dict[str, Any]) -> bool:
    """Print the sidecar's answer; ``False`` when there is none."""
    began = time.monotonic()
    name = coding_session.name(event["kind"], event["id"])
    known = coding_session.named(name)
    coming = False
    if known is None or not known.sidecar_lives():
        known, coming = _find_or_start(event, name, known)
    until = began + _patience(event, known, coming)
    if coming and event["event"] == "UserPromptSubmit":
        known = _wait_for(name, until)
    return known is not None and bool(known.socket) and _exchange(event, known.socket, until)


def _find_or_start(event: dict[str, Any], name: str, dead: CodingSession | None) -> tuple[CodingSession | None, bool]:
    """A sidecar that waits for this session since ``/clear``; else, where it makes sense, one is coming up."""
    if event["event"] in ("SessionEnd", "Stop") or event["subagent"]:
        return None, False
    agent = coding_session.coding_agent()
    if event["event"] == "SessionStart" and agent is not None:
        for other in coding_session.sessions():
            same = (other.pid, other.pid_started) == (agent.pid, agent.started) and other.kind == event["kind"]
            if same and other.between and other.sidecar_lives():
                return other, False
    if agent is None and dead is not None:
        agent = coding_session.Process(dead.pid, dead.pid_started)
    return None, _start(event, name, agent)


def _patience(event: dict[str, Any], known: CodingSession | None, coming: bool) -> float:
    """Seconds from the beginning."""
    if event["event"] == "UserPromptSubmit" and (coming or (known is not None and not known.agent)):
        return _deadline(FIRST_PROMPT_S)
    return _deadline(DEADLINES[event["event"]])


def _deadline(usual: float) -> float:
    try:
        return float(os.environ[DEADLINE_VARIABLE])
    except (KeyError, ValueError):
        return usual


def _wait_for(name: str, until: float) -> CodingSession | None:
    """The session once its sidecar listens."""
    while time.monotonic() < until:
        known = coding_session.named(name)
        if known is not None and known.socket and known.sidecar_lives():
            return known
        time.sleep(0.004)
    return None


def _exchange(event: dict[str, Any], path: str, until: float) -> bool:
    """Hand the event over, print the answer, and say that it is printed: only then does it count as told."""
    import socket

    event["wait"] = round(max(0.0, until - time.monotonic()), 3)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(_left(until))
        line.connect(path)
        line.sendall(line_of(event))
        answer = _receive(line, until)
        if not answer.endswith(b"\n"):
            return False  # cut short: it is said again
        _say(answer)
        try:
            line.settimeout(_left(until))
            line.sendall(b"k")
        except OSError:
            pass  # it is printed; what was in it is told again
    return True


def _receive(line: socket.socket, until: float) -> bytes:
    pieces = b""
    while not pieces.endswith(b"\n"):
        line.settimeout(_left(until))
        piece = line.recv(65_536)
        if not piece:
            break
        pieces += piece
    return pieces


def _left(until: float) -> float:
    """Seconds that are left; a little where there are none, for what is there at once."""
    return max(0.001, until - time.monotonic())


def _say(answer: bytes) -> None:
    try:
        while answer:
            answer = answer[os.write(1, answer) :]
    except OSError:
        os._exit(0)  # nobody listens any more


def _start(event: dict[str, Any], name: str, agent: Process | None) -> bool:
    """Start a sidecar that outlives this process, unless somebody is at it; whether one is coming up."""
    folder = coding_session.own_folder()
    if folder is None:
        return False
    if not _first(os.path.join(folder, f"{name}.starting")):
        return True
    whose = {"pid": agent.pid if agent else 0, "pid_started": agent.started if agent else ""}
    first = {key: value for key, value in event.items() if key not in ("patches", "paths", "more")} | whose
    log = os.path.join(folder, f"{name}.log")
    actions = [
        (os.POSIX_SPAWN_DUP2, _unnamed(folder, line_of(first)), 0),
        (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    # -P: what lies in the agent's folder must not be taken for a module of ours.
    argv = [sys.executable, "-P", "-m", "tracecraft_cli.sidecar"]
    # Ctrl-C, which we ignore, is the sidecar's own business again.
    heeded = [signal.SIGINT]
    os.posix_spawn(sys.executable, argv, os.environ, file_actions=actions, setsid=True, setsigdef=heeded)
    return True


def _unnamed(folder: str, text: bytes) -> int:
    """A file without a name that holds a text: unlike a pipe it takes all of it, also when nobody comes to read."""
    path = os.path.join(folder, f"first.{os.getpid()}")
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    os.unlink(path)
    while text:
        text = text[os.write(handle, text) :]
    os.lseek(handle, 0, os.SEEK_SET)
    return handle


def _first(marker: str) -> bool:
    """Whether we are the first of several hooks to start a sidecar, and none has died just now."""
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        try:
            if time.time() - os.stat(marker).st_mtime < STARTING_S:
                return False
            os.utime(marker)
        except OSError:
            return False  # the sidecar has just come up and removed it
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
