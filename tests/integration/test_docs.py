"""What the docs show is run: every block of every page, in order, by one shell, in an empty folder.

A fence says what its block is:

- ``console``: lines that begin with ``$ `` are commands, and each must exit with 0. What follows a command is its
  output, in which ``...`` stands for anything; without any, the output is not looked at.
- ``bash``: a script; it must exit with 0. ``python``: a program, run with our interpreter; it must exit with 0.
- ``… file=NAME``: the block is written into that file, and not run.
- ``json NAME``: an example of that body, which must fit its schema.
- ``python in=FRAMEWORK``: a program that needs that framework; `tests/frameworks/page.py` runs it in its environment.
- ``… not-run: REASON``: shown, but not run. There may only be a few of them.
- ``sql``: a query of the database; it must run on one that the bridge has made.
- ``text``, ``toml``, ``yaml``, ``json``, ``ini``: shown only.

A page gets a nats-server of its own, found by TRACECRAFT_SERVER. A page that runs ``tracecraft serve`` gets none, and
one that runs ``nats-server`` a free port in place of 4222.
"""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import jsonschema
import psycopg
import pytest
import yaml

import tracecraft
from tests.support.folder import short_lived_folder
from tracecraft.blocking_runs import Runs
from tracecraft_cli.main import main
from tracecraft_core import settings, subjects
from tracecraft_stack.nats_server import NatsServer
from tracecraft_stack.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracecraft_stack import Stack

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MOST_NOT_RUN: Final = 12
RUN: Final = ("console", "bash", "python")
SHOWN: Final = ("text", "toml", "yaml", "json", "ini", "sql")
_FENCE: Final = re.compile(r"^```(.*?)$(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    info: str
    text: str

    @property
    def language(self) -> str:
        return self.info.partition(" ")[0]

    @property
    def not_run(self) -> str | None:
        """Why it is not run, if it is not."""
        _, marker, reason = self.info.partition(" not-run:")
        return reason.strip() if marker else None

    @property
    def framework(self) -> str | None:
        """In whose environment it is run."""
        found = re.search(r" in=(\w+)", self.info)
        return found.group(1) if found else None

    @property
    def file(self) -> str | None:
        found = re.search(r" file=(\S+)", self.info)
        return found.group(1) if found else None

    @property
    def runs(self) -> bool:
        here = self.not_run is None and self.framework is None
        return self.file is not None or (self.language in RUN and here)

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True, slots=True)
class Step:
    """A piece of a page that is run, and what it should print (``None``: anything)."""

    line: int
    shown: str
    script: str
    output: str | None


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, found.start()) + 1, found.group(1).strip(), found.group(2).removeprefix("\n"))
        for found in _FENCE.finditer(text)
    ]


def steps(page: Path) -> Iterator[Step]:
    """What of a page is run, in order."""
    for block in blocks(page):
        if not block.runs:
            continue
        here = f"<<'END_OF_BLOCK'\n{block.text}END_OF_BLOCK"
        if block.file is not None:
            script = f'mkdir -p "$(dirname {block.file})" && cat > {block.file} {here}'
            yield Step(block.line, f"(write {block.file})", script, None)
        elif block.language == "python":
            yield Step(block.line, block.text, f"python - {here}", None)
        elif block.language == "bash":
            yield Step(block.line, block.text, f"bash -euo pipefail {here}", None)
        else:
            yield from _commands(block)


def _commands(block: Block) -> Iterator[Step]:
    for found in re.finditer(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", block.text, re.MULTILINE):
        command, output = found.groups()
        line = block.line + 1 + block.text.count("\n", 0, found.start())
        yield Step(line, command, command, output if output.strip() else None)


class Shell:
    """One shell that runs a whole page."""

    def __init__(self, folder: Path, env: dict[str, str], port: int = 4222) -> None:
        self._folder, self._env = folder, env
        self._port = port

    def run(self, page: Path) -> str:
        """Run a page; what went wrong first, or nothing."""
        wanted = list(steps(page))
        script = "exec </dev/null\n" + "\n".join(
            f"printf '\\036%s\\n' {number}\n{step.script}\nprintf '\\037%s\\n' $?" for number, step in enumerate(wanted)
        )
        said = self._execute(script.replace("4222", str(self._port)))
        for number, step in enumerate(wanted):
            _, _, rest = said.partition(f"\036{number}\n")
            output, ended, rest = rest.partition("\037")
            code = rest.partition("\n")[0]
            where = f"{page.relative_to(ROOT)}:{step.line}: $ {step.shown}"
            if not ended:
                return f"{where}\ndid not end; it printed\n{output}"
            if code != "0":
                return f"{where}\nexited with {code} and printed\n{output}"
            if step.output is not None and not _fits(step.output.replace("4222", str(self._port)), output):
                return f"{where}\nshould print\n{step.output}\nand printed\n{output}"
        return ""

    def _execute(self, script: str) -> str:
        (self._folder / "page.sh").write_text(script, encoding="utf-8")
        work = self._folder / "work"
        work.mkdir(parents=True)
        with (self._folder / "output").open("wb") as output:
            shell = subprocess.Popen(
                ["bash", "--norc", self._folder / "page.sh"],
                cwd=work,
                env=self._env,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                shell.wait(timeout=100)
            except subprocess.TimeoutExpired:
                pass
            finally:
                os.killpg(shell.pid, signal.SIGKILL) if _alive(shell.pid) else None
                shell.wait()
        return (self._folder / "output").read_text(encoding="utf-8", errors="replace")


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _fits(wanted: str, found: str) -> bool:
    """Whether an output is as shown; ``...`` is anything."""
    pattern = re.escape(_tidy(wanted)).replace(re.escape("..."), ".*?")
    return re.fullmatch(pattern, _tidy(found), re.DOTALL) is not None


def _tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def _mentions(page: Path, program: str) -> bool:
    return any(re.search(rf"\b{program}\b", step.script) for step in steps(page))


@pytest.fixture
def shell(request: pytest.FixtureRequest) -> Iterator[Shell]:
    """A shell for the page of the test, with a server unless the page starts one."""
    page: Path = request.param
    with short_lived_folder() as folder:
        folder.chmod(0o755)
        home = folder / "home"
        home.mkdir()
        env = {
            **os.environ,
            "HOME": str(home),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "COLUMNS": "110",
            **{f"GIT_{role}_{what}": "docs" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }
        if _mentions(page, "tracecraft serve"):
            env["TRACECRAFT_DATA"] = str(folder / "data")
            yield Shell(folder, env)
            stop = [sys.executable, "-m", "tracecraft_cli", "stop"]
            subprocess.run(stop, env=env, capture_output=True, check=True, timeout=100)
        elif _mentions(page, "nats-server"):
            yield Shell(folder, env, free_port())
        else:
            with NatsServer(folder / "nats") as server:
                yield Shell(folder, env | {"TRACECRAFT_SERVER": server.url})


@pytest.mark.parametrize(
    ("shell", "page"),
    [pytest.param(page, page, id=str(page.relative_to(ROOT))) for page in PAGES if any(steps(page))],
    indirect=["shell"],
)
def test_every_command_and_snippet_of_the_page_runs_and_prints_what_it_shows(shell: Shell, page: Path) -> None:
    problem = shell.run(page)
    assert not problem, problem


def test_a_page_with_a_framework_s_programs_is_run_by_the_tests_of_that_framework() -> None:
    tests = {path: path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "frameworks").glob("test_*.py")}
    for page in PAGES:
        for block in blocks(page):
            if block.framework is not None:
                running = [path.name for path, text in tests.items() if f'run_page("{page.stem}"' in text]
                assert running, f"{block}: no test says run_page({page.stem!r})"


def test_a_block_that_is_not_run_says_why_and_there_are_few() -> None:
    left_out = [block for page in PAGES for block in blocks(page) if block.not_run is not None]
    assert [str(block) for block in left_out if len(block.not_run or "") < 10] == []
    assert len(left_out) <= MOST_NOT_RUN, [str(block) for block in left_out]


def test_every_block_says_what_it_is() -> None:
    unknown = [
        f"{block}: {block.info!r}" for page in PAGES for block in blocks(page) if block.language not in RUN + SHOWN
    ]
    assert unknown == []


def test_every_console_block_begins_with_a_command() -> None:
    wrong = [
        str(block)
        for page in PAGES
        for block in blocks(page)
        if block.language == "console" and not block.text.startswith("$ ")
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "block",
    [block for page in PAGES for block in blocks(page) if block.language in ("json", "yaml", "python")],
    ids=str,
)
def test_examples_of_data_and_code_can_be_parsed(block: Block) -> None:
    if block.language == "json":
        json.loads(block.text)
    elif block.language == "yaml":
        yaml.safe_load(block.text)
    else:
        ast.parse(block.text)


@pytest.mark.parametrize(
    "block",
    [b for page in PAGES for b in blocks(page) if re.fullmatch(r"json [A-Z]\w+", b.info)],
    ids=lambda block: f"{block}-{block.info.split()[1]}",
)
def test_examples_of_bodies_fit_their_schema(block: Block) -> None:
    schema = json.loads((ROOT / f"docs/reference/schemas/{block.info.split()[1]}.json").read_text(encoding="utf-8"))
    fields = set(json.loads(block.text)) - schema["properties"].keys()
    jsonschema.Draft202012Validator(schema).validate(json.loads(block.text))
    assert fields == set(), "the example has fields that the body does not have"


def test_queries_run_on_the_database_of_a_bridge(stack: Stack) -> None:
    queries = [(str(block), block.text) for page in PAGES for block in blocks(page) if block.language == "sql"]
    assert queries
    with psycopg.connect(stack.state.postgres_dsn, autocommit=True) as database:
        for where, query in queries:
            try:
                database.execute(query.encode())
            except psycopg.Error as error:
                pytest.fail(f"{where}: {error}")


def _all_commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            for sub in command.list_commands(context):
                found = command.get_command(context, sub)
                assert found is not None
                yield f"{name} {sub}", found


def _sections() -> dict[str, str]:
    """The text of ``cli.md`` under each heading that names a command."""
    text = (ROOT / "docs/reference/cli.md").read_text(encoding="utf-8")
    parts = re.split(r"^#{2,3} `([a-z -]+)`$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_command_reference_has_every_command_and_no_other() -> None:
    documented = list(_sections())
    assert sorted(documented) == sorted(name for name, command in _all_commands() if name != "task list")


def test_the_command_reference_has_every_option_and_no_other() -> None:
    common = {option for parameter in main.params for option in parameter.opts} | {"--help", "-h"}
    differences: dict[str, Any] = {}
    for name, command in _all_commands():
        if name == "task list":
            continue  # is `tasks`
        own = {option for parameter in command.params for option in parameter.opts if option.startswith("-")} - common
        rows = re.findall(r"^\| (`-.*?) \|", _sections()[name], re.MULTILINE)
        written = {option for row in rows for option in re.findall(r"`(--?[a-z-]+)", row)}
        if own != written:
            differences[name] = {"missing": own - written, "unknown": written - own}
    assert differences == {}


def test_the_settings_reference_has_every_setting() -> None:
    text = (ROOT / "docs/reference/settings.md").read_text(encoding="utf-8")
    assert [name for name in settings.DESCRIPTIONS if f"| `{name}` |" not in text] == []


def test_the_python_reference_has_every_public_name_and_verb() -> None:
    text = (ROOT / "docs/reference/python.md").read_text(encoding="utf-8")
    faces = (tracecraft.Session, tracecraft.Claim, *_parts())
    verbs = {name for face in faces for name, thing in vars(face).items() if callable(thing) and name[0] != "_"}
    runs = {f"runs.{name}" for name, thing in vars(Runs).items() if callable(thing) and name[0] != "_"}
    wanted = {*tracecraft.__all__, *verbs, *runs}
    assert sorted(name for name in wanted if not re.search(rf"`(\w+\.)*{re.escape(name)}\b", text)) == []


def _parts() -> tuple[type, ...]:
    from tracecraft.session import Mail, Memory, Tasks

    return Memory, Mail, Tasks


def test_the_protocol_reference_has_every_stream_and_header() -> None:
    text = (ROOT / "docs/reference/protocol.md").read_text(encoding="utf-8")
    headers = [value for name, value in vars(subjects).items() if name.isupper() and isinstance(value, str)]
    assert [value for value in headers if value not in text] == []
