"""The screen, driven by keys."""

from __future__ import annotations

import hashlib
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from textual.widgets import Static

from tests.support.recorded import Recording, a_search
from tracecraft_cli.replay.rowview import MomentList
from tracecraft_cli.replay.screen import ReplayApp
from tracecraft_cli.replay.tape import Tape

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from textual.pilot import Pilot
    from textual.strip import Strip


@asynccontextmanager
async def opened(recording: Recording) -> AsyncIterator[tuple[ReplayApp, Pilot[None]]]:
    app = ReplayApp(Tape(recording))
    async with app.run_test(size=(120, 40)) as pilot:
        yield app, pilot


def here(app: ReplayApp) -> str:
    return app.tape.moments[app.place].text


def words(app: ReplayApp, name: str) -> str:
    return str(app.query_one(f"#{name}", Static).render())


async def until(pilot: Pilot[None], holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        await pilot.pause(0.01)


async def test_keys_step_through_the_run() -> None:
    async with opened(a_search()) as (app, pilot):
        assert here(app).startswith("run digits search begins")
        await pilot.press("right", "j", "down")
        assert here(app) == "takes part as worker, haiku"
        await pilot.press("left")
        assert app.place == 2
        await pilot.press("n")
        assert app.tape.moments[app.place].agent == "ann"
        assert here(app) == "acknowledges #120 of lead"
        await pilot.press("shift+left")
        assert app.place == 2
        await pilot.press("e")
        assert here(app).startswith("fails in fit trees=250")
        await pilot.press("e", "E")
        assert here(app).startswith("fails in fit trees=250")
        await pilot.press("end")
        assert here(app) == "run finished"
        await pilot.press("home", "pagedown")
        assert app.place == 20


async def test_search_and_going_to_a_place() -> None:
    async with opened(a_search()) as (app, pilot):
        await pilot.press("slash", *"the forest failed", "enter")
        assert here(app) == "to lead: the forest failed, see the task"
        await pilot.press("g", *"120", "enter")
        assert here(app) == "to ann: take the svm"
        await pilot.press("g", *"never", "enter")
        assert here(app) == "to ann: take the svm"


async def test_details_and_state_follow_the_cursor() -> None:
    async with opened(a_search()) as (app, pilot):
        await pilot.press("g", *"110", "enter", "s")
        await until(pilot, lambda: "plan.models" in words(app, "memory"))
        assert '"svm"' in words(app, "words")
        await pilot.press("end")
        await until(pilot, lambda: "winner" in words(app, "memory"))
        assert "plan.models" not in words(app, "memory")


async def test_a_large_value_is_fetched_when_it_is_asked_for() -> None:
    recording = Recording()
    data = b'{"answer": "the whole of it"}'
    digest = hashlib.sha256(data).hexdigest()
    recording.begin("ann", "1" * 16, "ask")
    blob = {"sha256": digest, "size": len(data), "preview": "{"}
    recording.put("tc.lab.run.r.ann.step.output", {"step": "1" * 16, "blob": blob})
    recording.blobs[digest] = data
    async with opened(recording) as (app, pilot):
        await pilot.press("right")
        await until(pilot, lambda: "b fetches" in words(app, "words"))
        await pilot.press("b")
        await until(pilot, lambda: "the whole of it" in words(app, "words"))
        recording.blobs.clear()
        await pilot.press("b")
        await until(pilot, lambda: "cannot be fetched" in words(app, "words"))


async def test_playing_goes_on_by_itself_and_stops_at_the_end() -> None:
    async with opened(a_search()) as (app, pilot):
        for _ in range(8):
            await pilot.press("plus")
        await pilot.press("space")
        await until(pilot, lambda: here(app) == "run finished" and not app.playing)


async def test_words_of_others_have_no_power_over_the_screen() -> None:
    recording = Recording(title="[red]x[/red]\x1b[2J")
    recording.event("ann", "log", text="\x1b[31mred[/b][bold]")
    async with opened(recording) as (app, pilot):
        await until(pilot, lambda: "ann" in words(app, "words"))
        line = app.query_one(MomentList).render_line(0).text
        assert r"\x1b[31mred[/b][bold]" in line
        assert r"[red]x[/red]\x1b[2J" in words(app, "title")


async def test_a_long_run_shows_at_once_and_only_what_is_seen_is_drawn() -> None:
    recording = Recording(page=500)
    for number in range(30_000):
        recording.event("ann", "log", text=f"line {number}")
    async with opened(recording) as (app, pilot):
        assert recording.read < 60
        await pilot.press("end")
        assert here(app) == "line 29999"
        drawn: list[int] = []
        moments = app.query_one(MomentList)
        render = moments.render_line

        def counted(y: int) -> Strip:
            drawn.append(y)
            return render(y)

        moments.render_line = counted  # type: ignore[method-assign]
        await pilot.press("left")
        await pilot.pause()
        assert 0 < len(drawn) < 200


async def test_the_current_moment_stays_in_view_when_the_state_opens() -> None:
    async with opened(a_search()) as (app, pilot):
        moments = app.query_one(MomentList)
        await pilot.press("end", "home", *["right"] * 30)
        assert app.place == 30
        await pilot.press("s")
        await until(pilot, lambda: moments.size.height < 30)
        await until(pilot, lambda: moments.scroll_y <= app.place < moments.scroll_y + moments.size.height)
