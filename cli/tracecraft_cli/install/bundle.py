"""The plugin folder as it is installed: the package's own, with our programs by their absolute path and our version."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tracecraft_cli.install import place
from tracecraft_cli.install.plan import Remove, Write

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MARKETPLACE: Final = "marketplace"
"""In our folder: what Claude Code and Codex install from."""
OPENCLAW: Final = "openclaw"
"""In our folder: the plugin for OpenClaw."""
SOURCES: Final = {MARKETPLACE: "plugin", OPENCLAW: "plugin_openclaw"}
"""The folders of this package that they are made of."""
PLUGIN: Final = "tracecraft"
"""The plugin's folder in the marketplace."""

_SHELL: Final = "If the shell does not find `tracecraft`, write `{program}` in its place."
_FORWARD: Final = '#!/bin/sh\nexec {program} "$@"\n'


def version() -> str:
    """Of this package."""
    return importlib.metadata.version("tracecraft-nats")


def root(kind: str) -> Path:
    """Where a plugin is installed from."""
    return place.folder() / kind


def marketplace_files() -> dict[Path, bytes]:
    """What Claude Code and Codex install from, by path."""
    files = {root(MARKETPLACE) / name: content for name, content in _rendered(MARKETPLACE)}
    # Claude Code puts the plugin's bin on the PATH of its shell.
    program = shlex.quote(str(place.launcher("tracecraft")))
    files[root(MARKETPLACE) / PLUGIN / "bin" / "tracecraft"] = _FORWARD.format(program=program).encode()
    return files


def openclaw_files(environment: Mapping[str, str]) -> dict[Path, bytes]:
    """The plugin for OpenClaw, by path; ``environment`` says who it is: TRACECRAFT_AGENT, TRACECRAFT_PROJECT."""
    files = {root(OPENCLAW) / name: content for name, content in _rendered(OPENCLAW)}
    skills = Path("tracecraft") / "skills"
    for name, content in _rendered(MARKETPLACE):
        if skills in name.parents:
            files[root(OPENCLAW) / name.relative_to("tracecraft")] = content
    manifest = root(OPENCLAW) / "openclaw.plugin.json"
    said = json.loads(files[manifest])
    said["mcpServers"]["tracecraft"]["env"] = dict(environment)
    files[manifest] = _json(said)
    settings = {"program": str(place.launcher("tracecraft")), "environment": dict(environment)}
    files[root(OPENCLAW) / "settings.json"] = _json(settings)
    return files


def launcher_files() -> dict[Path, bytes]:
    """The programs that coding agents run."""
    return {place.launcher(name): place.launcher_text(name).encode() for name in place.PROGRAMS}


def missing(files: Mapping[Path, bytes]) -> list[Write]:
    """What is not on disk as it should be."""
    return [
        Write(path, content, 0o755 if path.parent.name == "bin" else 0o644)
        for path, content in sorted(files.items())
        if _read(path) != content
    ]


def superfluous(kind: str, files: Mapping[Path, bytes]) -> list[Remove]:
    """What an older version has put there and this one does not; without ``files`` everything."""
    return [Remove(path) for path in _below(root(kind)) if path not in files]


def all_of(folder: Path) -> list[Remove]:
    """Every file of a folder."""
    return [Remove(path) for path in _below(folder)]


def same(folder: Path) -> bool:
    """Whether a copy of the plugin that a coding agent made is what is installed here now."""
    wanted = {
        path.relative_to(root(MARKETPLACE) / PLUGIN): content
        for path, content in marketplace_files().items()
        if (root(MARKETPLACE) / PLUGIN) in path.parents
    }
    return all(_read(folder / name) == content for name, content in wanted.items())


def _below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() or path.is_symlink()) if folder.is_dir() else []


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _rendered(kind: str) -> Iterator[tuple[Path, bytes]]:
    source = Path(str(importlib.resources.files("tracecraft_cli"))) / SOURCES[kind]
    for path in _below(source):
        name = path.relative_to(source)
        if "__pycache__" not in name.parts:
            yield name, _render(name, path.read_bytes())


def _render(name: Path, content: bytes) -> bytes:
    """One file: our programs by absolute path, our version."""
    if name.suffix == ".json":
        return _json(_with_programs(json.loads(content), name))
    return _with_launcher(content.decode()).encode() if name.name == "SKILL.md" else content


def _with_launcher(skill: str) -> str:
    """A skill that says under its title, before its first command, how else tracecraft is called."""
    before, title, rest = skill.partition("\n# ")
    heading, _, text = rest.partition("\n")
    where = _SHELL.format(program=shlex.quote(str(place.launcher("tracecraft"))))
    return f"{before}{title}{heading}\n\n{where}\n{text}"


def _with_programs(value: Any, name: Path) -> Any:
    if isinstance(value, list):
        return [_with_programs(one, name) for one in value]
    if not isinstance(value, dict):
        return value
    changed = {key: _with_programs(one, name) for key, one in value.items()}
    if changed.get("command") in place.PROGRAMS:
        program = str(place.launcher(changed["command"]))
        changed["command"] = shlex.quote(program) if "type" in changed else program  # a hook's goes through a shell
    if "version" in changed and name.name in ("plugin.json", "openclaw.plugin.json", "package.json"):
        changed["version"] = version()
    return changed


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
