"""``tracecraft init``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from tracecraft_cli.options import Common, common
from tracecraft_cli.output import emit, note
from tracecraft_cli.runner import guard

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEPT: Final = ("project", "agent", "server", "session", "context", "creds")
"""The settings that this command can write, in the order of the file."""


@click.command()
@click.option("--force", is_flag=True, help="Replace what the file says already.")
@common
def command(common: Common, force: bool) -> None:
    """Write .tracecraft.toml into this folder, so that every command here and below knows the project.

    Written is what you give (--project, --agent, --server, ...); the project is named after the folder unless you
    name it. What the file says already stays, unless --force. Asks no server.

    Example: tracecraft init --project my-research --agent writer
    """
    guard(common.as_json, lambda: _init(common, force))


def _init(common: Common, force: bool) -> None:
    from pathlib import Path

    from tracecraft_core import trust
    from tracecraft_core.settings import FILE, approved_servers

    path = Path.cwd() / FILE
    given = {name: value for name, value in common.flags.items() if value is not None}
    _validate(given)
    text, present = _read(path, force)
    _refuse_conflicts(path, present, given, force)
    wanted = {"project": _default_project(path.parent)} | present | given
    _check_present(path, wanted)
    added = {name: value for name, value in wanted.items() if present.get(name) != value}
    if added:
        lines = _lines(wanted) if force else text + _lines(added)
        _write(path, lines, private=_has_secret(wanted))
    if "server" in given:  # whoever names a server approves it
        trust.approve(given["server"], approved_servers())
    shown = {name: _without_secret(value) for name, value in wanted.items() if name not in ("token", "password")}
    result = {"file": str(path), "settings": shown, "written": sorted(added)}
    summary = ", ".join(f"{name} = {value}" for name, value in shown.items())
    emit(common.as_json, result, f"{'wrote' if added else 'unchanged:'} {path}: {summary}")
    if _has_secret(wanted):
        note(
            f"{path.name} holds a secret: it is readable by you alone (mode 600), keep it out of version control; "
            "better put the server into TRACECRAFT_SERVER or a NATS context"
        )


def _validate(given: Mapping[str, str]) -> None:
    from tracecraft_core import names, urls
    from tracecraft_core.errors import UsageError

    checks = {"project": names.project, "agent": names.agent, "session": names.session}
    for name, value in given.items():
        if name in checks:
            checks[name](value)
        elif not value.strip() or not value.isprintable():
            raise UsageError(f"--{name} {value!r} is empty or has a control character; see 'tracecraft init --help'")
        elif name == "server":
            urls.check(value, f"--{name}")


def _check_present(path: Path, wanted: Mapping[str, Any]) -> None:
    """Refuse to leave a name in the file that every other command refuses."""
    from tracecraft_core.errors import UsageError

    named = {name: str(wanted[name]) for name in ("project", "agent", "session", "server") if name in wanted}
    try:
        _validate(named)
    except UsageError as error:
        raise UsageError(f"{path}: {error}: nothing was written; give another one, with --force") from None


def _default_project(folder: Path) -> str:
    import os
    import re

    from tracecraft_core import names
    from tracecraft_core.settings import DEFAULT_PROJECT

    chosen = os.environ.get("TRACECRAFT_PROJECT")
    if chosen:
        return names.project(chosen)
    return re.sub(r"[^A-Za-z0-9_-]+", "-", folder.name).strip("-")[: names.MAX_TOKEN] or DEFAULT_PROJECT


def _read(path: Path, force: bool) -> tuple[str, dict[str, Any]]:
    """The file's text, ending in a newline, and its settings; nothing of a broken file that is to be replaced."""
    import tomllib

    from tracecraft_core.errors import UsageError

    try:
        text = path.read_text(encoding="utf-8")
        found = tomllib.loads(text)
    except FileNotFoundError:
        return "", {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        if force:
            return "", {}
        raise UsageError(f"{path} is not valid TOML ({error}): mend it, or replace it with --force") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    return text + ("" if text.endswith("\n") or not text else "\n"), found


def _refuse_conflicts(path: Path, present: Mapping[str, Any], given: Mapping[str, str], force: bool) -> None:
    from tracecraft_core.errors import UsageError

    for name, value in given.items():
        if not force and name in present and present[name] != value:
            raise UsageError(
                f'{path} says {name} = "{_without_secret(str(present[name]))}" already, nothing was written: '
                "--force replaces it"
            )


def _lines(settings: Mapping[str, Any]) -> str:
    import json

    known = [name for name in KEPT if name in settings]
    others = [name for name in settings if name not in KEPT]
    return "".join(f"{name} = {json.dumps(settings[name])}\n" for name in [*known, *others])


def _write(path: Path, text: str, *, private: bool) -> None:
    """Replace the file at once; a reader sees the old one or the new one."""
    import os
    import tempfile

    from tracecraft_core.errors import UsageError

    try:
        mode = path.stat().st_mode & 0o777
    except FileNotFoundError:
        mode = 0o644
    try:
        handle, fresh = tempfile.mkstemp(dir=path.parent, prefix=".tracecraft-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            os.fchmod(handle, mode & 0o600 if private else mode)
            file.write(text)
        os.replace(fresh, path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None


def _has_secret(settings: Mapping[str, Any]) -> bool:
    return bool({"token", "password"} & settings.keys()) or "@" in str(settings.get("server", ""))


def _without_secret(value: Any) -> str:
    import re

    return re.sub(r"//[^/]*@", "//", str(value))
