"""The stub model as a program beside the agents, and what it was asked."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from script import PROMPTS, THINKS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


class Model:
    """Plays the models of all agents by a script; ``with Model(...) as model``."""

    def __init__(self, folder: Path, rules: list[dict[str, Any]]) -> None:
        self._script, self._log = folder / "script.json", folder / "asked.jsonl"
        self._script.write_text(json.dumps(rules), encoding="utf-8")
        self._log.touch()
        self.url = ""

    def __enter__(self) -> Model:
        """Start it."""
        files = ("--script", str(self._script), "--log", str(self._log))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.stub_model", *files],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        return self

    def __exit__(self, *_: object) -> None:
        """End it, also while somebody waits for an answer."""
        self._process.kill()
        with self._process:
            pass

    def asked(self, name: str) -> list[dict[str, Any]]:
        """Every exchange with this agent's model, in order: ``body`` and ``reply``."""
        with self._log.open(encoding="utf-8") as lines:
            exchanges = [json.loads(line) for line in lines if line.endswith("\n")]
        return [one for one in exchanges if PROMPTS[name] in json.dumps(one["body"], ensure_ascii=False)]

    def read(self, name: str) -> list[tuple[str, str]]:
        """All that this agent's model has read, and in whose slot it stood: each part once."""
        parts = (part for one in self.asked(name) for part in _parts(one["body"]))
        return list(dict.fromkeys(parts))

    def slots(self, name: str, words: str) -> set[str]:
        """In whose slots these words stood when this agent's model read them."""
        return {slot for slot, text in self.read(name) if words in text}

    def tokens(self, name: str) -> int:
        """What the answers to this agent cost; the one that it did not live to see is none of them."""
        given = (one["reply"] for one in self.asked(name) if one["reply"] is not None)
        return sum(sum(reply["usage"].values()) for reply in given if reply["delay"] < THINKS)

    def wait_until_it_thinks(self, name: str, seconds: float) -> None:
        """Wait until this agent waits for the answer that takes so long."""
        deadline = time.monotonic() + seconds
        while not any(one["reply"] and one["reply"]["delay"] >= THINKS for one in self.asked(name)):
            if time.monotonic() > deadline:
                raise SystemExit(f"{name} has not come to its end within {seconds:.0f} s; {self.so_far()}")
            time.sleep(0.05)

    def so_far(self) -> str:
        """How far each agent is: the tools that its model has called for."""
        return "; ".join(f"{name}: {', '.join(self._calls(name)) or 'nothing'}" for name in PROMPTS)

    def _calls(self, name: str) -> list[str]:
        return [call["name"] for one in self.asked(name) if one["reply"] for call in one["reply"]["calls"]]


def _parts(body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What stands in a request to either service: the slot, and the words in it."""
    for name in ("system", "instructions"):
        yield "system", _words(body.get(name) or "")
    for item in body.get("messages") or body.get("input") or []:
        slot = str(item.get("role") or item.get("type"))
        content = item.get("content") or item.get("output") or item.get("arguments") or ""
        for part in content if isinstance(content, list) else [content]:
            kind = part.get("type") if isinstance(part, dict) else None
            yield (kind if kind in ("tool_result", "tool_use") else slot), _words(part)


def _words(content: Any) -> str:
    """The text in a part of a request."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(_words(one) for one in content)
    if isinstance(content, dict) and ("text" in content or "content" in content):
        return _words(content.get("text") or content.get("content") or "")
    return json.dumps(content, ensure_ascii=False)
