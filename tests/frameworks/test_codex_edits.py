"""The real Codex with our plugin: a patch in its shell does not reach a held file by way of another folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.frameworks.real_agents import Codex, slots
from tests.support.folder import short_lived_folder
from tests.support.stub_model import Usage, call, say
from tracecraft import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.stub_model import StubModel

pytest.importorskip("codex_cli_bin")

USAGE = Usage(input=100, output=10)


@pytest.fixture
def alice(model: StubModel) -> Iterator[Codex]:
    with short_lived_folder() as home:
        agent = Codex(home / "alice", model, TRACECRAFT_AGENT="alice")
        (agent.work / "src" / "deep").mkdir(parents=True)
        (agent.work / "docs").mkdir()
        try:
            with Session(agent="bob") as bob:
                bob.reservations.reserve("src/held.txt", "src/deep/*.md", folder=agent.work)
                yield agent
        finally:
            agent.close()


def patch(name: str) -> str:
    return f"apply_patch <<'EOF'\n*** Begin Patch\n*** Add File: {name}\n+x\n*** End Patch\nEOF\n"


HELD = {
    "plain": ("src/held.txt", "", ""),
    "cd": ("held.txt", "cd src && ", ""),
    "absolute-cd": ("held.txt", "cd {work}/src && ", ""),
    "quoted-cd": ("deep/x.md", "cd 'src' && ", ""),
    "several-cd": ("x.md", "cd src; cd deep\n", ""),
    "pushd": ("held.txt", "pushd src && ", ""),
    "variable": ("held.txt", "d=src; cd $d && ", ""),
    "subshell": ("held.txt", "(cd src && :); cd docs/../src && ", ""),
    "workdir": ("held.txt", "", "{work}/src"),
    "relative-workdir": ("held.txt", "", "src"),
    "workdir-and-cd": ("x.md", "cd deep && ", "src"),
    "workdir-and-up": ("../src/held.txt", "", "docs"),
    "absolute": ("{work}/src/held.txt", "", "docs"),
}


@pytest.mark.parametrize("how", HELD)
def test_a_held_file_is_not_written_by_a_patch_in_another_folder(how: str, model: StubModel, alice: Codex) -> None:
    name, before, workdir = (words.format(work=alice.work) for words in HELD[how])
    given = {"cmd": before + patch(name)} | ({"workdir": workdir} if workdir else {})
    model.answer(call("exec_command", given, USAGE), say("done"))
    alice("go on")
    assert slots(model.requests[-1], "not edited") == {"function_call_output"}
    assert slots(model.requests[-1], "the agent bob") == {"function_call_output"}
    assert not (alice.work / "src" / "held.txt").exists()
    assert not (alice.work / "src" / "deep" / "x.md").exists()


FREE = {
    "another-name": ("free.txt", "cd src && ", ""),
    "another-name-by-workdir": ("free.txt", "", "src"),
    "another-folder": ("{work}/docs/held.txt", "", ""),
    "another-folder-by-cd": ("held.txt", "cd {work}/docs && ", ""),
}


@pytest.mark.parametrize("how", FREE)
def test_a_file_that_nobody_holds_is_written(how: str, model: StubModel, alice: Codex) -> None:
    name, before, workdir = (words.format(work=alice.work) for words in FREE[how])
    given = {"cmd": before + patch(name)} | ({"workdir": workdir} if workdir else {})
    model.answer(call("exec_command", given, USAGE), say("done"))
    alice("go on")
    assert slots(model.requests[-1], "not edited") == set()
    assert (alice.work / "src" / "free.txt").exists() or (alice.work / "docs" / "held.txt").exists()


def test_the_model_is_told_how_to_go_on_where_the_folder_cannot_be_told(model: StubModel, alice: Codex) -> None:
    told = "in which folder held.txt lies cannot be told from a shell command, and the agent bob has reserved files"
    model.answer(
        call("exec_command", {"cmd": patch("held.txt"), "workdir": "docs"}, USAGE),
        call("exec_command", {"cmd": patch(f"{alice.work}/docs/held.txt"), "workdir": "docs"}, USAGE),
        say("done"),
    )
    alice("go on")
    assert slots(model.requests[1], told) == {"function_call_output"}
    assert slots(model.requests[1], "Write the absolute path of the file into the patch") == {"function_call_output"}
    assert (alice.work / "docs" / "held.txt").read_text() == "x\n"
