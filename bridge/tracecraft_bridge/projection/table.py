"""Reading and writing rows of a table as JSON: one statement for any number of rows, encoded and decoded in C."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

R = TypeVar("R", bound=msgspec.Struct)


class Table(Generic[R]):
    """A table whose rows are the struct ``kind``: its fields are named like the columns."""

    def __init__(self, name: str, kind: type[R], key: Sequence[str]) -> None:
        self.name, self.kind, self.key = name, kind, tuple(key)
        fields = kind.__struct_fields__
        columns = ", ".join(fields)
        rest = ", ".join(f"{column} = excluded.{column}" for column in fields if column not in key)
        source = f"SELECT {columns} FROM json_populate_recordset(NULL::{name}, %s::json)"
        self.insert = f"INSERT INTO {name} ({columns}) {source}"
        self.upsert = f"{self.insert} ON CONFLICT ({', '.join(key)}) DO UPDATE SET {rest}"
        self.delete = f"DELETE FROM {name} t USING json_populate_recordset(NULL::{name}, %s::json) k WHERE {_same(key)}"
        self._decoder = msgspec.json.Decoder(kind)

    def select(self, by: Sequence[str]) -> str:
        """SQL for the rows with given values of these columns, passed as `keys`; read its rows with `row`."""
        source = f"json_populate_recordset(NULL::{self.name}, %s::json) k JOIN {self.name} t ON {_same(by)}"
        return f"SELECT row_to_json(t)::text FROM {source}"

    def row(self, text: str) -> R:
        """A row that `select` found."""
        return self._decoder.decode(text)


def _same(columns: Sequence[str]) -> str:
    return " AND ".join(f"t.{column} = k.{column}" for column in columns)


def keys(columns: Sequence[str], found: Iterable[Sequence[object]]) -> str:
    """Values of key columns, as `Table.select` and `Table.delete` take them."""
    return msgspec.json.encode([dict(zip(columns, values, strict=True)) for values in found]).decode()


def rows(found: Iterable[Any]) -> str:
    """Rows, as `Table.insert` and `Table.upsert` take them."""
    return msgspec.json.encode(list(found)).decode()
