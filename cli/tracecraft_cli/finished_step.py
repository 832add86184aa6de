"""A step that is over, as `run log-step` was told about it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tracecraft_cli import current_run, run_notes
from tracecraft_cli.given import parse_value, read_value
from tracecraft_cli.run_book import Event
from tracecraft_cli.run_notes import now
from tracecraft_core import ids, names, run_events
from tracecraft_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracecraft.context import Context
    from tracecraft_core.errors import BusUnreachable

_TOKENS: Final = {
    "input_tokens": "input",
    "cache_read_tokens": "cache_read",
    "cache_write_tokens": "cache_write",
    "output_tokens": "output",
    "reasoning_tokens": "reasoning",
}


@dataclass(frozen=True, slots=True)
class FinishedStep:
    """What is known of it."""

    id: str
    name: str
    facts: Mapping[str, Any]
    data: Mapping[str, Any]
    """``input`` and ``output``, as far as they were given."""

    @classmethod
    def of(cls, name: str, given: str | None, came: str | None, facts: dict[str, Any]) -> FinishedStep:
        """Of the options of the command. Raises `UsageError`."""
        if not name.strip():
            raise UsageError("NAME is empty; for example 'tracecraft run log-step summarise --kind llm'")
        if given == "-" == came:
            raise UsageError("standard input can be read once: --input - or --output -")
        if facts["parent"] is not None and not _is_step(facts["parent"]):
            raise UsageError(
                f"--parent {facts['parent']!r} is no step: 16 hexadecimal digits, as log-step printed them"
            )
        task = facts["task"] or os.environ.get("TRACECRAFT_TASK") or None
        if task is not None:
            names.task(task)
        if facts["cost"] is not None and not 0 <= facts["cost"] < float("inf"):
            raise UsageError(f"--cost {facts['cost']} is no amount; for example --cost 0.0031")
        data = {
            end: parse_value(read_value(value, f"--{end}"))
            for end, value in (("input", given), ("output", came))
            if value
        }
        parent = facts["parent"] or current_run.outer_step()
        return cls(ids.step(), name, facts | {"task": task, "parent": parent}, data)

    def result(self) -> dict[str, Any]:
        """What the command prints."""
        return {"step": self.id, "name": self.name, "status": self._status}

    async def events(self, context: Context | None, away: BusUnreachable | None = None) -> list[Event]:
        """The events that say it. Without a bus a value that is too large for one cannot be kept: raises ``away``."""
        end, facts = now(), self.facts
        duration = round(facts["seconds"] * 1e6)
        common = {
            "step": self.id,
            "name": self.name,
            "kind": facts["kind"],
            "parent": facts["parent"],
            "task": facts["task"],
        }
        message = facts["message"]
        return [
            Event("step.started", run_events.StepStarted(time=end - duration, **common)),
            *[Event(f"step.{side}", await self._data(value, context, away)) for side, value in self.data.items()],
            Event(
                "step.ended",
                run_events.StepEnded(
                    time=end,
                    duration=duration,
                    status=self._status,
                    error=run_notes.failure(message),
                    **common,
                ),
            ),
            *self._usage(end),
        ]

    @property
    def _status(self) -> run_events.StepStatus:
        return "error" if self.facts["message"] else self.facts["status"]

    def _usage(self, time: int) -> list[Event]:
        facts = self.facts
        tokens = {field: facts[option] for option, field in _TOKENS.items() if facts[option] is not None}
        if not tokens and facts["cost"] is None:
            return []
        usage = run_events.Usage(
            time=time,
            step=self.id,
            task=facts["task"],
            provider=facts["provider"],
            model=facts["model"],
            cost=facts["cost"],
            **tokens,
        )
        return [Event("usage", usage)]

    async def _data(self, value: Any, context: Context | None, away: BusUnreachable | None) -> run_events.StepData:
        """The value without secrets, or where it lies when it is large."""
        from tracecraft.redaction import redact

        content, redacted = redact.json(msgspec.json.encode(value))
        if len(content) <= run_events.INLINE_BYTES:
            return run_events.StepData(step=self.id, value=msgspec.Raw(content), redacted=redacted)
        if context is None:
            assert away is not None
            raise away
        from tracecraft import artifacts

        stored = await artifacts.put_bytes(context, content, media_type="application/json")
        preview = content.decode()[: run_events.PREVIEW]
        blob = run_events.Blob(sha256=stored.sha256, size=stored.size, preview=preview)
        return run_events.StepData(step=self.id, blob=blob, redacted=redacted)


def _is_step(text: str) -> bool:
    return len(text) == 16 and all(char in "0123456789abcdef" for char in text)
