"""Transcripts that the real Claude Code 2.1.330, Codex 0.163, Hermes 0.19 and OpenClaw 2026.9.6 have written.

Made against a stub model; prompts of the programs, signatures and paths are left out (``transcripts/``).
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tracecraft.transcripts.sources import open_transcript

if TYPE_CHECKING:
    from tracecraft.transcripts.records import Record
    from tracecraft.transcripts.sources import Places, Source

HERE = Path(__file__).parent / "transcripts"
CLAUDE = "4a8ba476-e796-4966-9e73-0a81040cf1b1"
SUBAGENT = "a10a9f08576ca4231"
CODEX = "01a2057c-5669-7e10-b62e-e886b0454dbc"
CODEX_FORK = "01a2057d-180f-7ba3-8c1f-726cd4e607c6"
HERMES = "20261122_225947_f1cd67"
OPENCLAW = "a0577f64-a94a-47c1-ab16-52ccce42cbd1"


class Home:
    """The folders of the four programs, as on a machine of their user."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(HERE / "claude", folder / "claude")
        shutil.copytree(HERE / "codex", folder / "codex")
        self.hermes = self._database("hermes", folder / "hermes" / "state.db")
        self.openclaw = self._database("openclaw", folder / "openclaw/agents/main/agent/openclaw-agent.sqlite")

    @staticmethod
    def _database(name: str, path: Path) -> Path:
        path.parent.mkdir(parents=True)
        with sqlite3.connect(path) as connection:
            connection.executescript((HERE / f"{name}.sql").read_text())
        connection.close()
        return path

    @property
    def claude(self) -> Path:
        """The file of the session of Claude Code."""
        return self.folder / "claude" / "projects" / "-srv-widgets" / f"{CLAUDE}.jsonl"

    @property
    def codex(self) -> Path:
        """The rollout of the session of Codex."""
        return next(self.folder.glob(f"codex/sessions/**/rollout-*{CODEX}.jsonl"))

    @property
    def fork(self) -> Path:
        """The rollout of a fork of it."""
        return next(self.folder.glob(f"codex/sessions/**/rollout-*{CODEX_FORK}.jsonl"))

    def environment(self) -> dict[str, str]:
        """What the programs, and we, find them by."""
        return {
            "CLAUDE_CONFIG_DIR": str(self.folder / "claude"),
            "CODEX_HOME": str(self.folder / "codex"),
            "HERMES_HOME": str(self.folder / "hermes"),
            "OPENCLAW_STATE_DIR": str(self.folder / "openclaw"),
            "XDG_STATE_HOME": str(self.folder / "state"),
            "TRACECRAFT_SPOOL": str(self.folder / "spool"),
        }

    def path(self, source: str) -> tuple[Path, str]:
        """Where a program's session lies, and its id."""
        return {
            "claude": (self.claude, CLAUDE),
            "codex": (self.codex, CODEX),
            "hermes": (self.hermes, HERMES),
            "openclaw": (self.openclaw, OPENCLAW),
        }[source]


@pytest.fixture
def coding_home(tmp_path: Path) -> Home:
    """Sessions of all four."""
    return Home(tmp_path / "home")


def read(source: Source, path: Path, session: str = "", places: Places | None = None) -> list[Record]:
    """All records of a transcript, as if nothing followed."""
    transcript = open_transcript(source, path, session, {} if places is None else places)
    records: list[Record] = []
    transcript.more = True
    while transcript.more:
        records += transcript.read(1 << 20)
    return records + transcript.settle()


def append(path: Path, *lines: dict[str, Any]) -> None:
    """Append lines, as a coding agent does."""
    with path.open("a") as file:
        file.write("".join(json.dumps(line) + "\n" for line in lines))


def user(number: int, text: str) -> dict[str, Any]:
    """A line of Claude Code with the user's words."""
    return _line(number, {"type": "user", "message": {"role": "user", "content": text}})


def assistant(number: int, *blocks: dict[str, Any], message: str = "", **usage: int) -> list[dict[str, Any]]:
    """Lines of Claude Code for one message of the model: one for each block, each with the usage."""
    said = {"id": message or f"msg_01{number:022d}", "role": "assistant", "model": "claude-sonnet-4-5"}
    spent = {"input_tokens": 3, "output_tokens": 2, **usage}
    return [
        _line(number * 100 + place, {"type": "assistant", "message": {**said, "content": [block], "usage": spent}})
        for place, block in enumerate(blocks)
    ]


def text(words: str) -> dict[str, Any]:
    """A block of text."""
    return {"type": "text", "text": words}


def tool(id: str, name: str = "Bash", **given: Any) -> dict[str, Any]:
    """A block in which the model uses a tool."""
    return {"type": "tool_use", "id": id, "name": name, "input": given or {"command": "make"}}


def answer(number: int, id: str, output: str, failed: bool = False) -> dict[str, Any]:
    """A line with the answer of a tool."""
    block = {"type": "tool_result", "tool_use_id": id, "content": output, "is_error": failed}
    return _line(number, {"type": "user", "message": {"role": "user", "content": [block]}})


def _line(number: int, said: dict[str, Any]) -> dict[str, Any]:
    minutes, seconds = divmod(number, 60)
    hours, minutes = divmod(minutes, 60)
    return {
        **said,
        "uuid": f"00000000-0000-4000-8000-{number:012d}",
        "timestamp": f"2026-11-20T{hours % 24:02}:{minutes:02}:{seconds:02}.000Z",
        "cwd": "/srv/widgets",
        "sessionId": "s",
        "version": "2.1.330",
    }
