"""The page of a replay, in a real browser: it draws, it connects to nothing, and reads no word as HTML."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.recorded import Recording, a_search, delivered_late
from tracecraft_cli.replay.html import page
from tracecraft_cli.replay.pack import CHUNK, MOST_DETAIL
from tracecraft_cli.replay.tape import Tape
from tracecraft_core import queries
from tracecraft_core.reservations import task_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.browser import Browser

EVIL = "</script><img src=x onerror=document.documentElement.dataset.hacked=1><b>&amp;@script@"


async def written(recording: Recording, folder: Path) -> Path:
    path = folder / "run.html"
    path.write_text(await page(Tape(recording)), encoding="utf-8")
    return path


def report(browser: Browser, path: Path, *options: str) -> dict[str, Any]:
    """What the page found when it looked at itself."""
    browser.open(path, "&".join(["selftest", *options]))
    end = time.monotonic() + 20
    while time.monotonic() < end:
        found = browser.run("document.documentElement.dataset.selftest || ''")
        if found:
            told: dict[str, Any] = json.loads(found)
            return told
    pytest.fail(browser.run("document.documentElement.dataset.problem || 'it did not finish'"))


def detail(browser: Browser) -> str:
    """The details of the moment, once they are fetched."""
    words = "document.getElementById('detail').textContent"
    return str(browser.run(f"new Promise((done) => setTimeout(() => done({words}), 40))"))


async def test_the_page_draws_the_run(browser: Browser, tmp_path: Path) -> None:
    told = report(browser, await written(a_search(), tmp_path), "find=take%20the%20forest")
    assert told["problems"] == []
    assert (told["moments"], told["steps"], told["errors"]) == (66, 17, 4)
    assert told["agents"] == ["lead", "ann", "bob"]
    assert told["rows"] == [2, 2, 2]
    assert told["drawn"]["bars"] == 17
    assert told["drawn"]["arrows"] == 4
    assert (told["title"], told["last"], told["played"]) == ("digits search", "run finished", True)
    assert "to bob: take the forest" in told["detail"]
    assert "winner" in told["state"]
    assert "plan.models" not in told["state"]  # it was deleted
    assert "the forest failed, see the task" in told["state"]  # mail that nobody read


async def test_no_word_of_a_run_is_read_as_html(browser: Browser, tmp_path: Path) -> None:
    recording = Recording(title=EVIL)
    recording.about = {"status": "finished", "agents": {EVIL: EVIL}}
    recording.event("ann", "started", name=EVIL, params={EVIL: EVIL})
    recording.begin("ann", "1" * 16, EVIL, "llm")
    recording.event("ann", "step.output", step="1" * 16, value={EVIL: [EVIL]})
    recording.memory(EVIL, EVIL, EVIL)
    recording.message("ann", "bob", EVIL)
    recording.end("ann", "1" * 16, EVIL, 1000, EVIL)
    path = await written(recording, tmp_path)
    told = report(browser, path, "find=onerror")
    assert told["problems"] == []
    assert told["found"] == 0
    assert told["title"] == EVIL
    assert EVIL in told["state"]
    assert browser.run("document.documentElement.dataset.hacked || document.querySelectorAll('img').length") == 0
    assert "<img" not in path.read_text(encoding="utf-8")


async def test_the_page_stands_alone_and_may_not_connect(browser: Browser, tmp_path: Path) -> None:
    path = await written(a_search(), tmp_path)
    text = path.read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href)\s*=|url\(|@import|https?://""", text)
    browser.open(path)
    assert browser.run("performance.getEntriesByType('resource').length") == 0
    tried = """new Promise((done) => {
        document.addEventListener('securitypolicyviolation', (event) => done(event.effectiveDirective));
        fetch('http://127.0.0.1:9/').catch(() => setTimeout(() => done('tried'), 500));
    })"""
    assert browser.run(tried) == "connect-src"
    injected = """(() => { const s = document.createElement('script'); s.textContent = 'document.title = "in"';
        document.body.append(s); return document.title; })()"""
    assert browser.run(injected) == "digits search - replay"


async def test_keys_and_clicks_move_through_the_run(browser: Browser, tmp_path: Path) -> None:
    browser.open(await written(a_search(), tmp_path), "seq=120")

    def title() -> str:
        """Of the details, once they are fetched."""
        return detail(browser).partition("agent")[0]

    assert title() == "to ann: take the svm"
    browser.key("ArrowRight")
    assert title() == "to bob: take the forest"
    browser.key("e", "e")
    assert title().startswith("fails in fit trees=250")
    browser.key("n", "n")
    assert title().startswith("begins fit trees=300")
    browser.key("Home")
    assert title().startswith("run digits search begins")
    box = browser.run("(({x, y, width}) => [x, y, width])(document.getElementById('overview').getBoundingClientRect())")
    browser.click(box[0] + box[2] - 2, box[1] + 20)
    assert browser.run("document.getElementById('place').textContent").endswith("of 66")
    assert browser.run("document.getElementById('now').textContent") > "0:03.8"


async def test_long_values_are_cut_and_the_page_says_so(browser: Browser, tmp_path: Path) -> None:
    recording = Recording()
    recording.event("ann", "log", text="x" * (2 * MOST_DETAIL))
    path = await written(recording, tmp_path)
    browser.open(path)
    assert detail(browser).endswith(
        f"Only the first {MOST_DETAIL} characters are on this page; the whole is in the bundle."
    )


async def test_an_empty_run_and_one_without_steps_open(browser: Browser, tmp_path: Path) -> None:
    assert report(browser, await written(Recording(), tmp_path))["problems"] == []
    one = Recording()
    one.event("ann", "log", text="alone")
    assert report(browser, await written(one, tmp_path))["problems"] == []


async def test_twenty_thousand_steps_are_drawn_by_pixels(browser: Browser, tmp_path: Path) -> None:
    recording = Recording(page=1000)
    for number in range(20_000):
        recording.begin("ann", f"{number + 1:016x}", f"fit {number}", "llm")
        recording.tick(1000)
        recording.end("ann", f"{number + 1:016x}", f"fit {number}", 1000, "no" if number == 7777 else None, kind="llm")
    told = report(browser, await written(recording, tmp_path), "find=fit%2019999")
    assert (told["steps"], told["problems"]) == (20_000, [])
    assert told["moments"] > 10 * CHUNK
    assert told["drawn"]["bars"] < 2000
    assert told["found"] == 39_998


async def test_what_was_there_before_the_run_is_in_its_state(browser: Browser, tmp_path: Path) -> None:
    class Later(Recording):
        async def state(self, seq: int) -> queries.State:
            known = {"old": queries.MemoryValue(value="kept", revision=1, seq=1)}
            task = {
                "S0": queries.TaskAt(record={"state": "open"}, fence=1, seq=2),
                task_of("old.py"): queries.TaskAt(record={"state": "claimed"}, fence=1, seq=3),
            }
            return queries.State(seq=seq, time=None, memory=known, tasks=task, mailboxes={}, steps={})

    recording = Later()
    recording.event("ann", "log", text="x")
    recording.task("ann", task_of("src/*.py"), "claimed")
    recording.task("ann", "S1", "done")
    path = await written(recording, tmp_path)
    told = report(browser, path)
    assert "oldkept" in told["state"]
    assert "S0open" in told["state"]
    assert "S1done" in told["state"]
    assert "the reservation of old.pyclaimed" in told["state"], "people read the glob"
    assert "the reservation of src/*.pyclaimed" in told["state"]
    assert "file." not in told["state"]


def facts(browser: Browser) -> dict[str, str]:
    """The numbers in the page's header."""
    told = """Object.fromEntries([...document.querySelectorAll('#facts > div')].map(
        (box) => [box.querySelector('dt').textContent, box.querySelector('dd').textContent]))"""
    found: dict[str, str] = browser.run(told)
    return found


def with_calls_that_do_not_count() -> Recording:
    """A run of one paid call and one failed step; beside them a replayed call, a repeated report, and a child run."""
    tape = Recording()
    tape.event("ann", "started", name="search")
    tape.begin("ann", "1" * 16, "ask", "llm")
    for cause, request in (("original", "r1"), ("replay", None), ("original", "r1")):
        tape.event("ann", "usage", step="1" * 16, input=100, output=20, cost=0.5, cause=cause, request=request)
    tape.tick(1_000)
    tape.end("ann", "1" * 16, "ask", 1_000, "no", kind="llm")
    own, tape.run = tape.run, "20261118-110640-ch2222"
    tape.event("bob", "started", name="inner", parent=own)
    tape.event("bob", "usage", input=7, cost=0.25)
    tape.begin("bob", "2" * 16, "fit")
    tape.end("bob", "2" * 16, "fit", 0, "no")
    tape.event("bob", "ended", status="failed")
    tape.run = own
    tape.tick(1_000)
    tape.event("ann", "ended", status="finished")
    return tape


async def test_totals_are_the_runs_own_and_count_what_was_paid_once(browser: Browser, tmp_path: Path) -> None:
    browser.open(await written(with_calls_that_do_not_count(), tmp_path))
    told = facts(browser)
    assert (told["steps"], told["errors"], told["tokens"]) == ("1", "1", "120")
    assert told["cost"] == "$0.5000, reported costs only"
    assert told["took"] == "2 ms"


async def test_totals_of_the_bridge_win_over_what_the_entries_say(browser: Browser, tmp_path: Path) -> None:
    tape = with_calls_that_do_not_count()
    tape.about["totals"] = {"steps": 9, "errors": 3, "tokens": 9640, "cost": 0.52, "unpriced": 1, "seconds": 61}
    browser.open(await written(tape, tmp_path))
    told = facts(browser)
    assert (told["steps"], told["errors"], told["tokens"], told["took"]) == ("9", "3", "9,640", "1 m 1 s")
    assert told["cost"] == "$0.5200 at least"


async def test_places_of_a_run_that_was_delivered_late_are_when_it_was_recorded(
    browser: Browser, tmp_path: Path
) -> None:
    """An hour lies between; a message of somebody else came while it was delivered."""
    path = await written(delivered_late(), tmp_path)
    browser.open(path, "seq=30")
    assert facts(browser)["took"] == "600 ms"
    assert "when0:00.100000" in detail(browser)
    browser.key("n")
    assert "when0:00.400000" in detail(browser)
    browser.key("n")
    assert "when0:00.500000" in detail(browser)
    browser.open(path, "seq=70")
    assert "12:06:40" in detail(browser)
