#!/usr/bin/env python3
"""Test the integrations, each framework in an environment of its own: two of them seldom agree on their dependencies.

    python3 scripts/frameworks.py                         all of them
    python3 scripts/frameworks.py --only crewai,hermes    these
    python3 scripts/frameworks.py -- -x -k handoff        arguments for pytest

`make test-integrations [ONLY=…] [ARGS=…]` calls it. Environments are `.venvs/<name>`, made and brought up to date when
needed. A framework that cannot be had here (no network, no wheel for this Python) is skipped, and the table says so.
Standard library only, like `environment.py`, whose ways of making an environment it uses.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import time
import tomllib
import xml.etree.ElementTree as xml
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import environment
from environment import CONSTRAINTS, HELD, PROJECT, ROOT, STAMP, say

VENVS: Final = ROOT / ".venvs"
TESTS: Final = ROOT / "tests" / "frameworks"
TOOLS: Final = ("pytest>=8.4", "pytest-asyncio>=1.2", "pytest-timeout")
"""What runs the tests."""

NOTHING_COLLECTED: Final = 5
"""What pytest ends with when ``-k`` leaves no test: no failure, where the arguments are for another framework."""


@dataclass(frozen=True, slots=True)
class Framework:
    """A framework, and how it is tested."""

    name: str
    """Of its environment, and of its tests: `test_<name>.py`, and what begins so."""
    package: str
    """Whose version the table shows."""
    extra: str | None
    """Of tracecraft: what the adapter needs, if anything."""
    beside: tuple[str, ...] = ()
    """What the tests need besides: clients for the stub model, a version."""
    pinned: bool = True
    """Whether our constraints.txt goes with it. Where a framework demands other versions, only the servers are held:
    which versions of the rest a user has beside that framework is not ours to choose."""
    tests: str = ""
    """Another beginning of the tests' names."""


FRAMEWORKS: Final = (
    Framework("crewai", "crewai", "crewai", ("crewai[anthropic]",), pinned=False),  # pydantic<2.13, rich<15
    Framework("langgraph", "langgraph", "langgraph", ("langchain>=1.2", "langchain-openai>=1.1")),
    Framework("claude_agent_sdk", "claude-agent-sdk", "claude", tests="claude_"),
    Framework("openai_agents", "openai-agents", "openai-agents"),
    Framework("hermes", "hermes-agent", "hermes", pinned=False),  # exact pins of its own: pydantic, pillow, rich
    # protobuf<6
    Framework("autogen", "autogen-agentchat", "autogen", ("autogen-ext[openai]>=0.7.5,<0.8",), pinned=False),
    Framework(
        "agent_framework",
        "agent-framework-core",
        "agent-framework",
        ("agent-framework-openai>=1.17", "agent-framework-orchestrations>=1.4", "agent-framework-anthropic>=1.0.0b1"),
    ),
    Framework("pydantic_ai", "pydantic-ai-slim", "pydantic-ai", ("pydantic-ai-slim[openai,anthropic]",)),
    Framework("mcp1", "mcp", None, ("mcp<2", "jsonschema"), tests="mcp"),
    Framework("mcp2", "mcp", None, ("mcp>=2", "jsonschema"), tests="mcp"),
    Framework("codex", "openai-codex", None, ("openai-codex>=0.163",)),
    # Both programs in one place, for `make coding-agents`.
    Framework("coding_agents", "openai-codex", None, ("openai-codex>=0.163", "claude-agent-sdk>=0.2.187")),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A line of the table."""

    name: str
    version: str = ""
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    note: str = ""


def wanted(framework: Framework) -> list[str]:
    """What is installed for it."""
    extras = ",".join(filter(None, ("local", framework.extra)))
    # Under uv's and pip's rules a constraint that nothing asks for does no harm; one that conflicts ends the install.
    limits = environment.PINS if framework.pinned else HELD
    return ["--editable", f".[{extras}]", *TOOLS, *framework.beside, *limits]


def fingerprint(framework: Framework) -> str:
    """Describe what its environment is made from; of pyproject.toml only what decides about an install."""
    project = tomllib.loads(PROJECT.read_text())
    parts = [project["project"], project["build-system"], project["tool"]["hatch"], wanted(framework)]
    pins = CONSTRAINTS.read_text() if framework.pinned else ""
    digest = hashlib.sha256(json.dumps([*parts, pins], sort_keys=True).encode()).hexdigest()
    return f"{ROOT}\n{digest}\n"


def is_ready(venv: Path, framework: Framework) -> bool:
    """Whether there is nothing to do."""
    return environment.is_usable(venv) and environment.stamp_of(venv) == fingerprint(framework)


def make(framework: Framework) -> bool:
    """Bring its environment up to date; false: it cannot be had here, and what was tried is on stderr."""
    venv = VENVS / framework.name
    if is_ready(venv, framework):
        return True
    with environment.one_at_a_time():
        if is_ready(venv, framework):
            return True
        say(f"making {venv.relative_to(ROOT)}")
        VENVS.mkdir(exist_ok=True)
        if not environment.is_usable(venv):
            environment.create(venv)
        (venv / STAMP).unlink(missing_ok=True)
        if not install(venv / "bin" / "python", framework):
            return False
        (venv / STAMP).write_text(fingerprint(framework))
    return True


def install(python: Path, framework: Framework) -> bool:
    """Install what is wanted; where our constraints do not fit what the framework demands today, without them."""
    if install_with(python, framework):
        return True
    return framework.pinned and install_with(python, replace(framework, pinned=False))


def install_with(python: Path, framework: Framework) -> bool:
    """Install with uv, or else with pip."""
    if environment.uv_succeeds("pip", "install", "--python", python, *wanted(framework)):
        return True
    # As in environment.py: the pip that came with Python may be too old for our constraints.
    newer_pip = environment.succeeds(python, "-m", "pip", "install", "--upgrade", "pip")
    return newer_pip and environment.succeeds(python, "-m", "pip", "install", *wanted(framework))


def test(framework: Framework, arguments: list[str]) -> Outcome:
    """Run its tests, and count."""
    files = sorted(TESTS.glob(f"test_{framework.tests or framework.name}*.py"))
    if not files:
        return Outcome(framework.name, note="there are no tests for it yet")
    started = time.monotonic()
    if not make(framework):
        return Outcome(framework.name, note="skipped: it could not be installed here, see above")
    venv = VENVS / framework.name
    say(f"testing {framework.name}")
    counted = venv / "tracecraft-tests.xml"
    counted.unlink(missing_ok=True)
    command: list[str | Path] = [venv / "bin" / "python", "-m", "pytest", *files, f"--junit-xml={counted}", *arguments]
    code = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL).returncode
    passed, failed, skipped = count(counted)
    # pytest that broke before it could test anything is a failure too.
    broken = code not in (0, 1, NOTHING_COLLECTED) or (code == 1 and not failed)
    return Outcome(
        framework.name,
        version_of(venv, framework.package),
        passed,
        failed + broken,
        skipped,
        time.monotonic() - started,
        f"pytest ended with {code}" if broken else "",
    )


def count(counted: Path) -> tuple[int, int, int]:
    """Tests passed, failed and skipped, from what pytest wrote."""
    if not counted.exists():
        return 0, 0, 0
    suites = xml.parse(counted).getroot().iter("testsuite")
    numbers = [[int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")] for suite in suites]
    tests, failures, errors, skipped = (sum(column) for column in zip(*numbers, strict=True))
    return tests - failures - errors - skipped, failures + errors, skipped


def version_of(venv: Path, package: str) -> str:
    """Which version of a package is in an environment."""
    question = f"import importlib.metadata as m; print(m.version({package!r}))"
    asked = subprocess.run([venv / "bin" / "python", "-c", question], capture_output=True, text=True)
    return asked.stdout.strip()


def table(outcomes: list[Outcome]) -> str:
    """What became of each, for people."""
    head = ("framework", "version", "passed", "failed", "skipped", "seconds", "")
    rows = [
        (one.name, one.version, str(one.passed), str(one.failed), str(one.skipped), f"{one.seconds:.1f}", one.note)
        for one in outcomes
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    return "\n".join(line.rstrip() for line in lines)


def main() -> int:
    """Test what is asked for; 1 when something failed."""
    names = [framework.name for framework in FRAMEWORKS]
    parser = argparse.ArgumentParser(description="Test the integrations, each in an environment of its own.")
    parser.add_argument("--only", default="", metavar="NAME,…", help=f"of {', '.join(names)}")
    parser.add_argument("--make", action="store_true", help="only make the environments")
    parser.add_argument("arguments", nargs="*", help="for pytest, after --")
    chosen = parser.parse_args()
    only = [name for name in chosen.only.replace(",", " ").split() if name]
    if unknown := sorted(set(only) - set(names)):
        environment.give_up(f"no such framework: {', '.join(unknown)}; there are {', '.join(names)}")
    frameworks = [framework for framework in FRAMEWORKS if not only or framework.name in only]
    if chosen.make:
        made = [make(framework) for framework in frameworks]
        return 0 if all(made) else 1
    outcomes = [test(framework, chosen.arguments) for framework in frameworks]
    print(f"\n{table(outcomes)}")  # noqa: T201 - this is a program, not a library
    return 1 if any(outcome.failed for outcome in outcomes) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
