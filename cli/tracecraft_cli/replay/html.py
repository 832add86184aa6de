"""The page: one file that shows a run as swim-lanes, opens from disk, and connects to nothing.

Its policy allows its own script and its own style, by their hashes, and nothing else. What the run says is zipped and
in base64, and the page makes only text of it: no word of an agent is ever read as HTML.
"""

from __future__ import annotations

import base64
import hashlib
import html
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from tracecraft_cli.replay.pack import Details, pack, zipped
from tracecraft_cli.replay.totals import Totals
from tracecraft_cli.replay.wording import tell
from tracecraft_core.queries import Entry
from tracecraft_core.task_ids import spoken, spoken_kind

if TYPE_CHECKING:
    from tracecraft_cli.replay.tape import Tape
    from tracecraft_core.queries import State

SCRIPTS: Final = ("data", "layout", "draw", "panel", "main")
MOST_BEFORE: Final = 2_000
"""Keys and tasks from before the run that the page knows."""


async def page(tape: Tape) -> str:
    """The page of a whole tape, which must not be loaded yet: the words of its entries are zipped as they pass."""
    details = Details()
    totals = Totals(tape.source.run)
    tape.watch(details.add)
    tape.watch(totals.add)
    await tape.load()
    details.close()
    before = _before(await tape.source.state(tape.source.first_seq - 1)) if tape.moments else None
    return _assembled(pack(tape, before, tape.source.about.get("totals") or totals.told()), details.zipped)


def _assembled(head: dict[str, Any], chunks: list[str]) -> str:
    style = _asset("style.css")
    script = '(() => {\n"use strict";\n' + "\n".join(_asset(f"{name}.js") for name in SCRIPTS) + "\n})();"
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "connect-src 'none'; base-uri 'none'; form-action 'none'"
    )
    data = [_data("head", zipped(head)), *(_data(f"chunk-{place}", each) for place, each in enumerate(chunks))]
    title = html.escape(f"{head['title'] or head['run']} - replay")
    parts = {"policy": policy, "title": title, "style": style, "script": script, "data": "\n".join(data)}
    pieces = _asset("page.html").split("@")
    return "".join(parts.get(piece, piece) for piece in pieces)


def _data(name: str, text: str) -> str:
    return f'<script type="text/plain" id="{name}">{text}</script>'


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _asset(name: str) -> str:
    return resources.files("tracecraft_cli.replay").joinpath("page", name).read_text(encoding="utf-8")


def _before(state: State) -> dict[str, dict[str, str]]:
    """Memory and tasks in one line each."""
    memory = {
        key: tell("memory", key, _entry(key, value.value))[0].partition(" = ")[2]
        for key, value in list(state.memory.items())[:MOST_BEFORE]
    }
    tasks = {
        spoken(name): tell("task", name, _entry(name, task.record))[0].removeprefix(f"{spoken_kind(name)} ")
        for name, task in list(state.tasks.items())[:MOST_BEFORE]
    }
    return {"memory": memory, "task": tasks}


def _entry(subject: str, body: Any) -> Entry:
    return Entry(seq=0, time="", subject=subject, body=body)
