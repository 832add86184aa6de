"""The printed form: a line a moment, and the state as text."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tracecraft_cli.columns import columns
from tracecraft_cli.output import compact
from tracecraft_cli.replay.moment import rfc3339
from tracecraft_core.quotation import neutral, oneline

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracecraft_cli.replay.moment import Moment
    from tracecraft_cli.replay.tape import Tape
    from tracecraft_core.queries import State

FAR_US: Final = 2_000_000
"""A record that came into the log so much later waited in a spool; one of so much later was made by a wrong clock."""

CUT: Final = "…"
"""At the end of a line that does not show all."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which moments are printed; nothing chosen is everything."""

    agents: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    errors: bool = False

    def takes(self, moment: Moment) -> bool:
        """Whether a moment is printed."""
        return (
            (not self.agents or moment.agent in self.agents)
            and (not self.kinds or moment.kind in self.kinds)
            and (moment.error or not self.errors)
        )


async def print_tape(tape: Tape, choice: Choice, write: Callable[[Moment, int], None]) -> int:
    """Print page by page, without keeping what is printed waiting; returns how many. ``write`` gets the start too."""
    told, place = 0, 0
    await tape.begin()
    while place < len(tape.moments) or await tape.more():
        for moment in tape.moments[place:]:
            if choice.takes(moment):
                write(moment, tape.zero)
                told += 1
            place += 1
    return told


def line(moment: Moment, start: int) -> str:
    """``412  +0:03.140  ann  fails in fit (tool_call) after 210 ms: ValueError: out of memory``.

    Lines stand in the order of the log and say when it happened, by the clock of the writer where that is known. A
    line whose two clocks are far apart says so.
    """
    mark = "! " if moment.error else ""
    begin = f"{moment.seq}  {since(moment.time - start)}{_apart(moment)}  {neutral(moment.agent or '-')}  {mark}"
    return begin + oneline(moment.text, max(40, columns() - len(begin)))


def _apart(moment: Moment) -> str:
    late = moment.stored - moment.time
    if abs(late) < FAR_US:
        return ""
    return f" (in the log {since(late)[1:]} later)" if late > 0 else f" (a clock {since(late)[1:]} ahead)"


def is_cut(moment: Moment, line: str | None) -> bool:
    """Whether a moment says more than its text, or than the line that was made of it."""
    return moment.cut or (line is not None and line.endswith(CUT) and not moment.text.endswith(CUT))


def since(microseconds: int) -> str:
    """``+0:03.140``: minutes, seconds and thousandths; hours in front where there are any."""
    sign, count = ("-", -microseconds) if microseconds < 0 else ("+", microseconds)
    minutes, rest = divmod(count // 1000, 60_000)
    hours, minutes = divmod(minutes, 60)
    return sign + (f"{hours}:{minutes:02d}" if hours else str(minutes)) + f":{rest // 1000:02d}.{rest % 1000:03d}"


def as_json(moment: Moment) -> dict[str, Any]:
    """All that is known of a moment; what it says whole is in its entry of the log."""
    return {**dataclasses.asdict(moment), "time": rfc3339(moment.time), "stored": rfc3339(moment.stored)}


def state_text(state: State) -> str:
    """The state in sections, a line a thing."""
    parts = [f"after sequence {state.seq}" + (f", {state.time}" if state.time else "")]
    for title, lines in sections(state):
        parts += ["", f"{title} ({len(lines)})", *(f"  {each}" for each in lines or ["-"])]
    return "\n".join(parts)


def sections(state: State) -> list[tuple[str, list[str]]]:
    """Title and lines of each part of a state."""
    mail = [(to, letter) for to, letters in sorted(state.mailboxes.items()) for letter in letters]
    return [
        ("memory", [_cut(f"{key} = {compact(value.value)}") for key, value in sorted(state.memory.items())]),
        ("tasks", [_cut(f"{name} {_task(task.record)}") for name, task in sorted(state.tasks.items())]),
        ("mailboxes", [_cut(f"{to}: #{one.id} from {one.sender}: {one.text}") for to, one in mail]),
        ("last steps", [_cut(f"{agent}: {_step(state, agent)}") for agent in sorted(state.steps)]),
    ]


def _task(record: dict[str, Any]) -> str:
    owner = record.get("owner")
    return f"{record.get('state', 'open')}" + (f" by {owner}" if owner else "")


def _step(state: State, agent: str) -> str:
    step = state.steps[agent]
    return f"{step.name} ({step.kind}) {step.status}, #{step.seq}, {step.step}"


def _cut(text: str) -> str:
    return oneline(text, max(40, columns() - 2))
