"""Settings files of coding agents, read before anything is done to them: one that is broken is left alone."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Any

from tracecraft_core.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def text_of(path: Path) -> str:
    """What a file says; empty for none. Raises `UsageError` for one that cannot be read as text."""
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise _broken(path, f"byte {error.start} is not UTF-8") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file's object. Raises `UsageError` with the place of what is wrong."""
    text = text_of(path)
    try:
        found = json.loads(text) if text.strip() else {}
    except json.JSONDecodeError as error:
        raise _broken(path, f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    return _object(path, found)


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file's table. Raises `UsageError` with the place of what is wrong."""
    try:
        return tomllib.loads(text_of(path))
    except tomllib.TOMLDecodeError as error:
        raise _broken(path, str(error)) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's mapping. Raises `UsageError` with the place of what is wrong."""
    import yaml

    try:
        found = yaml.safe_load(text_of(path))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise _broken(path, f"{where}{getattr(error, 'problem', None) or 'not YAML'}") from None
    return {} if found is None else _object(path, found)


def _object(path: Path, found: Any) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise _broken(path, f"it holds a {type(found).__name__}, not a mapping")
    return found


def _broken(path: Path, problem: str) -> UsageError:
    return UsageError(f"{path} cannot be understood ({problem}): nothing was changed; mend it, then again")
