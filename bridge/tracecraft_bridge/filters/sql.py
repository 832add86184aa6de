"""Conditions as SQL. Keys and values are always parameters; the text comes from this file and from `fields` alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple
from typing import Any as Anything

from tracecraft_bridge.filters.conditions import All, Any, Comparison, IsNan, Not, Present

if TYPE_CHECKING:
    from tracecraft_bridge.filters.conditions import Condition, Value
    from tracecraft_bridge.filters.fields import Field

_PATTERNS: Final = {
    "like": "{} LIKE %s ESCAPE ''",
    "not like": "{} NOT LIKE %s ESCAPE ''",
    "ilike": "{} ILIKE %s ESCAPE ''",
    "not ilike": "{} NOT ILIKE %s ESCAPE ''",
    "~": "{} ~ %s",
    "!~": "{} !~ %s",
}
_INDEXED: Final = {"run_param": "left(x.text, 200)", "run_tag": "left(x.value, 200)"}
"""What is indexed of a text that may be long."""
INDEXED_CHARACTERS: Final = 200
"""How much of it."""


class Compiled(NamedTuple):
    """A condition on the table ``run AS r``."""

    sql: str
    values: tuple[Anything, ...]


def compiled(condition: Condition) -> Compiled:
    """The SQL of a condition, with ``%s`` for each of the values."""
    match condition:
        case Comparison(field, operator, values):
            return _searched(field, _comparison(field, operator, values))
        case Present(field):
            return _searched(
                field, Compiled("true" if field.table and not field.nullable else f"{field.sql} IS NOT NULL", ())
            )
        case IsNan(field):
            number = "x.number" if field.kind == "either" else field.sql
            return _searched(field, Compiled(f"{number} = 'NaN'", ()))
        case Not(inner):
            sql, bound = compiled(inner)
            return Compiled(f"(({sql}) IS NOT TRUE)", bound)
        case All(parts):
            return _joined(parts, " AND ")
        case Any(parts):
            return _joined(parts, " OR ")


def _joined(parts: tuple[Condition, ...], word: str) -> Compiled:
    made = [compiled(part) for part in parts]
    return Compiled(f"({word.join(part.sql for part in made)})", tuple(value for part in made for value in part.values))


def _searched(field: Field, test: Compiled) -> Compiled:
    """The test on the run's own row, or on the rows of another table that belong to it."""
    if not field.table:
        return Compiled(f"({test.sql})", test.values)
    where, bound = ["x.project = r.project", "x.run = r.run"], list[Anything]()
    if field.key is not None:
        where.append("x.key = %s")
        bound.append(field.key)
    if field.table == "metric_latest":
        where.append("x.agent = ''")
    where.append(test.sql)
    return Compiled(f"EXISTS (SELECT FROM {field.table} x WHERE {' AND '.join(where)})", (*bound, *test.values))


def _comparison(field: Field, operator: str, values: tuple[Value, ...]) -> Compiled:
    if operator in _PATTERNS:
        return Compiled(_PATTERNS[operator].format(field.sql), values)
    if field.kind == "either":
        return _of_param(operator, values)
    if operator in ("in", "not in"):
        return _among(field.sql, operator, values)
    if operator == "=" and field.table in _INDEXED:
        return _equal(field.table, field.sql, values)
    return Compiled(
        _simple(field.sql, operator, number=field.table == "metric_latest", text=field.kind == "text"), values
    )


def _simple(sql: str, operator: str, *, number: bool, text: bool) -> str:
    sql_operator = "<>" if operator == "!=" else operator
    if text and operator in ("<", "<=", ">", ">="):
        return f'{sql} COLLATE "C" {sql_operator} %s'
    if number and operator in (">", ">="):  # PostgreSQL has NaN greater than any number
        return f"({sql} {sql_operator} %s AND {sql} < 'NaN')"
    return f"{sql} {sql_operator} %s"


def _equal(table: str, sql: str, values: tuple[Value, ...]) -> Compiled:
    """Equality by the index, which has the beginning; of a text that is shorter than that it is the whole."""
    (value,) = values
    if len(str(value)) < INDEXED_CHARACTERS:
        return Compiled(f"{_INDEXED[table]} = %s", values)
    return Compiled(f"({_INDEXED[table]} = left(%s, 200) AND {sql} = %s)", (value, value))


def _among(sql: str, operator: str, values: tuple[Value, ...]) -> Compiled:
    return Compiled(f"{sql} {operator.upper()} ({', '.join(['%s'] * len(values))})", values)


def _of_param(operator: str, values: tuple[Value, ...]) -> Compiled:
    """Numbers are compared with the parameter's number, text with its text."""
    if operator in ("in", "not in"):
        return _param_among(operator, values)
    (value,) = values
    if isinstance(value, str):
        if operator == "=":
            return _equal("run_param", "x.text", values)
        return Compiled(_simple("x.text", operator, number=False, text=True), values)
    if operator == "!=":
        return Compiled("x.number IS DISTINCT FROM %s", values)
    return Compiled(_simple("x.number", operator, number=True, text=False), values)


def _param_among(operator: str, values: tuple[Value, ...]) -> Compiled:
    texts = tuple(value for value in values if isinstance(value, str))
    numbers = tuple(value for value in values if not isinstance(value, str))
    parts = [_among("x.text", "in", texts)] if texts else []
    parts += [_among("x.number", "in", numbers)] if numbers else []
    sql, bound = " OR ".join(part.sql for part in parts), (*texts, *numbers)
    return Compiled(f"({sql})" if operator == "in" else f"(({sql}) IS NOT TRUE)", bound)
