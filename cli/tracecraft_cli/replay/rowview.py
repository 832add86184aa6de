"""The list of moments: only the lines that are seen are made, however many there are."""

# ruff: noqa: TID253 - imported inside the command, which pays for textual anyway

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tracecraft_cli.replay.moment import ALL
from tracecraft_cli.replay.printed import since
from tracecraft_core.quotation import neutral, oneline

if TYPE_CHECKING:
    from textual import events

    from tracecraft_cli.replay.moment import Moment
    from tracecraft_cli.replay.tape import Tape

MOST_LANES: Final = 10
"""Agents that have a lane of their own; the others share the last one."""
PALETTE: Final = ("cyan", "magenta", "green", "yellow", "blue", "bright_cyan", "bright_magenta", "bright_green")
HERE: Final = Style(bgcolor="rgb(38,79,120)", color="white")
SIGNS: Final = {
    "step.started": "┬",
    "step.ended": "┴",
    "message": "●",
    "receipt": "○",
    "memory": "◆",
    "task": "▶",
    "artifact": "■",
    "run": "◎",
}


class MomentList(ScrollView, can_focus=True, inherit_bindings=False):
    """Lines of moments with a lane for each agent."""

    DEFAULT_CSS: ClassVar[str] = (
        "MomentList { width: 1fr; height: 1fr; overflow-x: hidden; scrollbar-size-vertical: 1; }"
    )

    class Picked(Message):
        """A line was clicked."""

        def __init__(self, place: int) -> None:
            super().__init__()
            self.place = place

    def __init__(self, tape: Tape, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.tape = tape
        self.place = 0

    def grown(self) -> None:
        """More moments are there."""
        self.virtual_size = Size(1, len(self.tape.moments))
        self.refresh()

    def go(self, place: int) -> None:
        """Put the cursor on a moment, and bring it into view."""
        self.place = place
        if len(self.tape.moments) != self.virtual_size.height:
            self.grown()
        self.scroll_to_region(Region(0, place, 1, 1), animate=False, force=True)
        self.refresh()

    def on_resize(self) -> None:
        """Keep the cursor in view."""
        self.call_after_refresh(self.go, self.place)

    def on_click(self, event: events.Click) -> None:
        """Pick the line."""
        place = event.y + round(self.scroll_y)
        if 0 <= place < len(self.tape.moments):
            self.post_message(self.Picked(place))

    def render_line(self, y: int) -> Strip:
        """One line."""
        place, width = y + round(self.scroll_y), self.size.width
        if place >= len(self.tape.moments):
            return Strip.blank(width)
        moment = self.tape.moments[place]
        here = place == self.place
        base = HERE if here else Style()
        colour = Style(color="red", bold=True) if moment.error else Style()
        segments = [Segment(f"{since(moment.time - self.tape.zero):>12} ", base + Style(dim=not here))]
        segments += self._lanes(moment, base)
        who = oneline(moment.agent or "-", 14)
        segments.append(Segment(f" {who:<14} ", base + self._colour(moment.agent) + Style(bold=True)))
        used = sum(segment.cell_length for segment in segments)
        segments.append(Segment(oneline(moment.text, max(8, width - used)), base + colour))
        return Strip(segments).adjust_cell_length(width, base)

    def _lanes(self, moment: Moment, base: Style) -> list[Segment]:
        """A column for each agent: who acts, and to whom a message goes."""
        lanes = list(self.tape.agents)[:MOST_LANES]
        sender = self._lane(lanes, moment.agent)
        to = self._lane(lanes, moment.to) if moment.kind == "message" and moment.to not in (None, ALL) else None
        low, high = (min(sender, to), max(sender, to)) if to is not None else (sender, sender)
        found = []
        for lane, agent in enumerate(lanes):
            inside = low <= lane < high
            sign, style = "│", Style(dim=True)
            if lane == sender:
                sign = "✖" if moment.error else SIGNS.get(moment.event, SIGNS.get(moment.kind, "•"))
                style = Style(color="red", bold=True) if moment.error else self._colour(agent) + Style(bold=True)
            elif to is not None and lane == to:
                sign, style = ("◀" if to < sender else "▶"), Style(color="yellow")
            elif low < lane < high:
                sign, style = "─", Style(color="yellow")
            found.append(Segment(sign, base + style))
            found.append(Segment("─" if inside else " ", base + Style(color="yellow")))
        return found

    def _lane(self, lanes: list[str], agent: str | None) -> int:
        return lanes.index(agent) if agent in lanes else len(lanes) - 1

    def _colour(self, agent: str) -> Style:
        places = list(self.tape.agents)
        place = places.index(agent) if agent in places else 0
        return Style(color=PALETTE[place % len(PALETTE)])


def title(tape: Tape) -> str:
    """The run in one line."""
    status = tape.source.about.get("status", "")
    return neutral(f"{tape.source.title}  {tape.source.run}  {status}")
