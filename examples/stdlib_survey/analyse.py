"""Analyses the source of one standard library package: sizes, functions, complexity, imports. Prints JSON."""

from __future__ import annotations

import ast
import json
import sys
import sysconfig
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from radon.complexity import cc_visit

LEFT_OUT = {"test", "site-packages", "__pycache__"}
"""``test`` is Python's own test suite: more source than all other packages together."""


def packages() -> list[str]:
    """The packages of the standard library that runs this."""
    root = Path(sysconfig.get_path("stdlib"))
    return sorted(place.parent.name for place in root.glob("*/__init__.py") if place.parent.name not in LEFT_OUT)


def analyse(package: str) -> dict[str, Any]:
    """Measure a package; files that do not parse (some are meant not to) are counted as skipped."""
    root = Path(sysconfig.get_path("stdlib")) / package
    found: dict[str, Any] = {"package": package, "files": 0, "skipped": 0, "lines": 0, "functions": 0, "classes": 0}
    imports: Counter[str] = Counter()
    worst = (0, "")
    for path in sorted(root.rglob("*.py")):
        if {"test", "tests"} & set(path.relative_to(root).parts):
            continue
        try:
            source = path.read_text(encoding="utf-8")
            tree = _parse(source)
        except (SyntaxError, UnicodeDecodeError, ValueError):
            found["skipped"] += 1
            continue
        found["files"] += 1
        found["lines"] += source.count("\n")
        nodes = list(ast.walk(tree))
        found["functions"] += sum(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in nodes)
        found["classes"] += sum(isinstance(node, ast.ClassDef) for node in nodes)
        imports.update(_imported(nodes))
        worst = max([worst, *((block.complexity, block.name) for block in _blocks(source))])
    found["imports"] = [name for name, _ in imports.most_common(5)]
    found["most_complex"] = {"name": worst[1], "complexity": worst[0]}
    return found


def _parse(source: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source)


def _blocks(source: str) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(cc_visit(source))


def _imported(nodes: list[ast.AST]) -> list[str]:
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return [name.split(".")[0] for name in names]


if __name__ == "__main__":
    print(json.dumps(analyse(sys.argv[1])))
