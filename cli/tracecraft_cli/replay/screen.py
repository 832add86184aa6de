"""The screen: moments with lanes at the left, one of them whole at the right, the state at this moment below."""

# ruff: noqa: TID253 - imported inside the command, which pays for textual anyway

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any, ClassVar, Final

from rich.text import Text
from textual.app import App
from textual.binding import Binding
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Footer, Input, Static

from tracecraft_cli.replay.moment import rfc3339
from tracecraft_cli.replay.printed import sections, since
from tracecraft_cli.replay.rowview import MomentList, title
from tracecraft_cli.replay.where import parse
from tracecraft_core.errors import TracecraftError
from tracecraft_core.quotation import neutral

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from tracecraft_cli.replay.moment import Moment
    from tracecraft_cli.replay.tape import Tape

SPEEDS: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 1000.0)
LONGEST_PAUSE_S: Final = 2.0
"""Where nothing happened for longer, playing goes on after this."""
SETTLED_S: Final = 0.05
"""Details are fetched when the cursor has stood still for so long."""
BREATH_S: Final = 0.01
"""Between two pages that are loaded behind the screen."""
SHOWN: Final = 20_000
"""Characters of a value that are shown."""
HELP: Final = """\
→ ↓ j          next moment            n  shift+→     next of this agent
← ↑ k          previous moment        p  shift+←     previous of this agent
PgDn PgUp      twenty at once         e  E           next, previous error
Home End       first, last            /              search; Enter finds the next
space          play, pause            g              go to a sequence, time or step
+ -            faster, slower         s              state at this moment
b              fetch the whole value  ?  q           these keys, quit"""


class ReplayApp(App[None]):
    """Steps through a tape."""

    ENABLE_COMMAND_PALETTE = False
    CSS: ClassVar[str] = """
    #title { height: 1; background: $primary; color: $text; padding: 0 1; }
    #middle { height: 1fr; }
    #moments { width: 3fr; }
    #detail { width: 2fr; border-left: solid $panel; padding: 0 1; }
    #state { height: 12; border-top: solid $panel; padding: 0 1; display: none; }
    #state.shown { display: block; }
    #help { height: auto; border-top: solid $panel; padding: 0 1; display: none; }
    #help.shown { display: block; }
    #line { dock: bottom; display: none; margin-bottom: 1; }
    #line.shown { display: block; }
    """
    BINDINGS: ClassVar[list[Any]] = [
        Binding("right,down,j", "step(1)", "next", priority=False),
        Binding("left,up,k", "step(-1)", "back"),
        Binding("n,shift+right", "agent(1)", "agent's next"),
        Binding("p,shift+left", "agent(-1)", "agent's previous", show=False),
        Binding("pagedown", "step(20)", show=False),
        Binding("pageup", "step(-20)", show=False),
        Binding("home", "first", show=False),
        Binding("end", "last", show=False),
        Binding("e", "error(1)", "error"),
        Binding("E,shift+e", "error(-1)", show=False),
        Binding("slash", "ask('search')", "search"),
        Binding("g", "ask('go to')", "go to"),
        Binding("space", "play", "play"),
        Binding("plus,equals_sign", "speed(1)", show=False),
        Binding("minus", "speed(-1)", show=False),
        Binding("s", "state", "state"),
        Binding("b", "value", "whole value", show=False),
        Binding("question_mark", "help", "keys"),
        Binding("escape", "leave", show=False),
        Binding("q", "quit", "quit"),
    ]

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self.tape = tape
        self.place = 0
        self.speed = 1.0
        self.playing = False
        self._asking = ""
        self._searched = ""
        self._turn = 0

    def compose(self) -> ComposeResult:
        """The parts."""
        yield Static(id="title", markup=False)
        with Horizontal(id="middle"):
            yield MomentList(self.tape, id="moments")
            with VerticalScroll(id="detail", can_focus=False):
                yield Static(id="words", markup=False)
        with VerticalScroll(id="state", can_focus=False):
            yield Static(id="memory", markup=False)
        yield Static(HELP, id="help", markup=False)
        yield Input(id="line")
        yield Footer()

    async def on_mount(self) -> None:
        """Show the first page at once, and load the rest meanwhile."""
        self.query_one(MomentList).focus()
        await self.tape.more()
        self._go(0)
        self.run_worker(self._load(), group="load")

    async def _load(self) -> None:
        moments = self.query_one(MomentList)
        while await self.tape.more():
            moments.grown()
            self._title()
            await asyncio.sleep(BREATH_S)
        moments.grown()
        self._title()

    def _go(self, place: int | None) -> None:
        """Put the cursor on a moment; with none, say so."""
        if place is None or not self.tape.moments:
            self.bell()
            return
        self.place = max(0, min(place, len(self.tape.moments) - 1))
        self.query_one(MomentList).go(self.place)
        self._title()
        self.run_worker(self._look(), group="look", exclusive=True)

    def _title(self) -> None:
        count = f"{len(self.tape.moments):,}" + ("" if self.tape.whole else "…")
        pace = f"x{self.speed:g}" + (" playing" if self.playing else "")
        words = f"{title(self.tape)}   {self.place + 1:,} of {count}   {pace}"
        self.query_one("#title", Static).update(words)

    async def _look(self, whole: bool = False) -> None:
        """Fetch what belongs to the moment, once the cursor stands."""
        await asyncio.sleep(SETTLED_S)
        if not self.tape.moments:
            return
        moment = self.tape.moments[self.place]
        try:
            words = await self._words(moment, whole)
        except (TracecraftError, OSError) as error:
            words = Text(f"cannot be fetched: {error}", style="red")
        self.query_one("#words", Static).update(words)
        self.query_one("#detail", VerticalScroll).scroll_home(animate=False)
        if self.query_one("#state").has_class("shown"):
            await self._show_state(moment)

    async def _words(self, moment: Moment, whole: bool) -> Text:
        entry = await self.tape.source.entry(moment.seq)
        text = Text()
        text.append(neutral(moment.text) + "\n\n", style="bold red" if moment.error else "bold")
        for name, value in self._facts(moment):
            text.append(f"{name:<9}", style="dim")
            text.append(neutral(value) + "\n")
        body = entry.body if entry.raw is None else {"base64": entry.raw}
        text.append("\n" + neutral(_pretty({"subject": entry.subject, "headers": entry.headers, "body": body}), "\n"))
        blob = body.get("blob") if isinstance(body, dict) else None
        if isinstance(blob, dict):
            text.append("\n\n")
            text.append(await self._blob(blob) if whole else "b fetches the whole value", style="" if whole else "dim")
        return text

    def _facts(self, moment: Moment) -> list[tuple[str, str]]:
        step = self.tape.steps.get(moment.run, moment.step)
        facts = [
            ("agent", moment.agent or "-"),
            ("time", rfc3339(moment.time)),
            ("in the log", rfc3339(moment.stored)),
            ("sequence", str(moment.seq)),
        ]
        if step is not None:
            took = "open" if step.end is None else f"{step.status}, {since(step.end - step.start).removeprefix('+')}"
            facts += [("step", f"{step.name} ({step.kind}) {took}"), ("step id", step.step)]
            facts += [("task", step.task)] if step.task else []
        return facts

    async def _blob(self, blob: dict[str, Any]) -> str:
        data = await self.tape.source.blob(str(blob.get("sha256")))
        text = data.decode("utf-8", "replace")
        with contextlib.suppress(ValueError):
            text = _pretty(json.loads(text))
        return neutral(text[:SHOWN], "\n\t") + ("\n…" if len(text) > SHOWN else "")

    async def _show_state(self, moment: Moment) -> None:
        pane = self.query_one("#memory", Static)
        try:
            state = await self.tape.source.state(moment.seq)
        except (TracecraftError, OSError) as error:
            pane.update(f"cannot be fetched: {error}")
            return
        text = Text()
        for name, lines in sections(state):
            text.append(f"{name} ({len(lines)})\n", style="bold")
            text.append("".join(f"  {line}\n" for line in lines[:200]))
        pane.update(text)

    def on_moment_list_picked(self, picked: MomentList.Picked) -> None:
        """A line was clicked."""
        self._go(picked.place)

    async def action_step(self, count: int) -> None:
        """Go so many moments on."""
        if count == 1:
            self._go(await self.tape.following(self.place))
        else:
            self._go(max(0, self.place + count))

    async def action_agent(self, direction: int) -> None:
        """Go to the next or previous moment of this agent."""
        agent = self.tape.moments[self.place].agent if self.tape.moments else ""
        tape = self.tape
        self._go(await tape.following(self.place, agent) if direction > 0 else tape.preceding(self.place, agent))

    async def action_error(self, direction: int) -> None:
        """Go to the next or previous error."""
        tape = self.tape
        self._go(await tape.next_error(self.place) if direction > 0 else tape.previous_error(self.place))

    def action_first(self) -> None:
        """Go to the first moment."""
        self._go(0)

    async def action_last(self) -> None:
        """Go to the last moment."""
        await self.tape.load()
        self._go(len(self.tape.moments) - 1)

    def action_ask(self, what: str) -> None:
        """Ask for words to search or a place to go to."""
        self._asking = what
        line = self.query_one("#line", Input)
        line.placeholder = what
        line.value = self._searched if what == "search" else ""
        line.add_class("shown")
        line.focus()

    async def on_input_submitted(self, submitted: Input.Submitted) -> None:
        """Search, or go there."""
        words = submitted.value.strip()
        self.action_leave()
        if not words:
            return
        if self._asking == "search":
            self._searched = words
            found = await self.tape.search(words, self.place)
            if found is None:
                self.notify(f"{neutral(words)}: not found", markup=False)
            self._go(found)
            return
        try:
            self._go(await self.tape.seek(parse(words)))
        except TracecraftError as error:
            self.notify(str(error), severity="error", markup=False)

    def action_leave(self) -> None:
        """Close what was asked, and the help."""
        self.query_one("#line").remove_class("shown")
        self.query_one("#help").remove_class("shown")
        self.query_one(MomentList).focus()

    def action_help(self) -> None:
        """Show the keys, or hide them."""
        self.query_one("#help").toggle_class("shown")

    def action_state(self) -> None:
        """Show the state at this moment, or hide it."""
        self.query_one("#state").toggle_class("shown")
        self.run_worker(self._look(), group="look", exclusive=True)

    def action_value(self) -> None:
        """Fetch the whole of a value that lies in the artifact store."""
        self.run_worker(self._look(whole=True), group="look", exclusive=True)

    def action_speed(self, direction: int) -> None:
        """Play faster or slower."""
        place = SPEEDS.index(self.speed) + direction
        self.speed = SPEEDS[max(0, min(place, len(SPEEDS) - 1))]
        self._title()

    def action_play(self) -> None:
        """Play, or pause."""
        self.playing = not self.playing
        self._title()
        self._turn += 1
        if self.playing:
            self.run_worker(self._play(self._turn), group="play", exclusive=True)

    async def _play(self, turn: int) -> None:
        while turn == self._turn:
            after = await self.tape.following(self.place)
            if after is None:
                self.playing = False
                self._title()
                return
            pause = (self.tape.moments[after].time - self.tape.moments[self.place].time) / 1e6 / self.speed
            await asyncio.sleep(max(0.0, min(LONGEST_PAUSE_S, pause)))
            if turn == self._turn:
                self._go(after)


def _pretty(value: Any) -> str:
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN else text[:SHOWN] + "\n…"
