"""``python -m tests.support.stub_model [--port N] --script FILE.json [--log FILE]``: the stub model as a program.

Its first line on stdout is its address. ``FILE.json`` is a list of rules, see `load_rules`; ``--log`` appends a line of
JSON for every request: path, model, body, and the reply it got. It runs until its stdin ends, or it is killed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.stub_model.script import load_rules
from tests.support.stub_model.server import StubModel

if TYPE_CHECKING:
    from tests.support.stub_model.request import Request
    from tests.support.stub_model.script import Reply


class LoggedModel(StubModel):
    """Writes every exchange into a file, as it happens."""

    def __init__(self, rules: Any, port: int, log: Path | None) -> None:
        super().__init__(rules, port=port)
        self.log = log

    def keep(self, request: Request, reply: Reply | None) -> None:
        """Written before it is answered, also when the answer takes long."""
        super().keep(request, reply)
        if self.log is not None:
            entry = {
                "path": request.path,
                "model": request.model,
                "turn": request.turn,
                "body": request.body,
                "reply": None if reply is None else {**dataclasses.asdict(dataclasses.replace(reply, gate=None))},
            }
            with self.log.open("a") as lines:
                lines.write(json.dumps(entry) + "\n")


def main() -> None:
    """Serve until stdin ends."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.stub_model")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--script", type=Path, required=True, help="rules as JSON")
    parser.add_argument("--log", type=Path, help="append every request and its reply to this file")
    chosen = parser.parse_args()
    rules = load_rules(json.loads(chosen.script.read_text()))
    with LoggedModel(rules, chosen.port, chosen.log) as model:
        print(model.url, flush=True)  # noqa: T201 - a program
        sys.stdin.read()


if __name__ == "__main__":
    main()
