"""Constants of a training script: ``MATRIX_LR = 0.04`` at its top level, which an agent edits, as parameters."""

from __future__ import annotations

import ast
import re
import warnings
from typing import Any, Final

MOST: Final = 200
"""Constants that are kept."""
LONGEST: Final = 500
"""Characters of one."""
_LINE: Final = re.compile(r"^([A-Z][A-Z0-9_]{1,60})\s*(?::[^=]+)?=\s*([^=\n].*?)\s*(?:#.*)?$", re.MULTILINE)


def constants(source: str) -> dict[str, Any]:
    """Names in capitals and their values: a literal or a sum of such as it is, anything else as its text."""
    try:
        with warnings.catch_warnings(action="ignore"):
            body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the agent wrote it: it need not be a program
        return {name: value[:LONGEST] for name, value in _LINE.findall(source)[:MOST]}
    found: dict[str, Any] = {}
    for statement in body:
        target, value = _assignment(statement)
        if target is not None and value is not None and target.isupper() and len(found) < MOST:
            found[target] = _value(value)
    return found


def changed(before: dict[str, Any], after: dict[str, Any]) -> dict[str, list[Any]]:
    """What differs: old and new value by name; ``None`` where there is none."""
    names = [name for name in {**after, **before} if before.get(name) != after.get(name)]
    return {name: [before.get(name), after.get(name)] for name in names}


def _assignment(statement: ast.stmt) -> tuple[str | None, ast.expr | None]:
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1 and isinstance(statement.targets[0], ast.Name):
        return statement.targets[0].id, statement.value
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return statement.target.id, statement.value
    return None, None


def _value(value: ast.expr) -> Any:
    number = _number(value)
    if number is not None:
        return number
    try:
        found = ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return ast.unparse(value)[:LONGEST]
    plain = isinstance(found, (bool, str)) or found is None
    if plain:
        return found[:LONGEST] if isinstance(found, str) else found
    if isinstance(found, (list, tuple)) and all(isinstance(one, (int, float, str, bool)) for one in found):
        return list(found)[:MOST]
    return ast.unparse(value)[:LONGEST]


def _number(value: ast.expr) -> int | float | None:
    """A number, or one such as ``2**16`` and ``-3``, without running anything."""
    if isinstance(value, ast.Constant) and isinstance(value.value, (int, float)) and not isinstance(value.value, bool):
        return value.value if abs(value.value) < 2**53 else None
    if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub):
        inner = _number(value.operand)
        return None if inner is None else -inner
    if isinstance(value, ast.BinOp):
        left, right = _number(value.left), _number(value.right)
        return None if left is None or right is None else _computed(value.op, left, right)
    return None


def _computed(operator: ast.operator, left: int | float, right: int | float) -> int | float | None:
    try:
        if isinstance(operator, ast.Pow):
            found = left**right if abs(right) <= 64 and abs(left) <= 1024 else None
        elif isinstance(operator, ast.Mult):
            found = left * right
        elif isinstance(operator, ast.Div):
            found = left / right
        elif isinstance(operator, ast.Add):
            found = left + right
        else:
            found = left - right if isinstance(operator, ast.Sub) else None
    except (ArithmeticError, ValueError):
        return None
    return found if isinstance(found, (int, float)) and abs(found) < 2**53 else None
