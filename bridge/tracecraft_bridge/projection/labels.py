"""Parameters and tags of a run: the last value of a key counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tracecraft_bridge.projection import poison
from tracecraft_bridge.projection.label_row import ParamRow, TagRow

if TYPE_CHECKING:
    from collections.abc import Mapping

    import msgspec

    from tracecraft_bridge.projection.batch import Batch
    from tracecraft_bridge.projection.entry import Entry
    from tracecraft_bridge.projection.run_state import RunState


UPSERT_PARAMS: Final = r"""
    INSERT INTO run_param (project, run, key, value, text, number)
    SELECT project, run, key, coalesce(value, 'null'), coalesce(value #>> '{}', 'null'), CASE
        WHEN jsonb_typeof(value) = 'number' AND abs(value::numeric) < 1e300
        THEN value::numeric::double precision
        WHEN jsonb_typeof(value) = 'string'
            AND value #>> '{}' ~ '^[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,2})?$'
        THEN (value #>> '{}')::double precision
        END
    FROM json_to_recordset(%s::json) AS k(project text, run text, key text, value jsonb)
    ON CONFLICT (project, run, key) DO UPDATE
    SET value = excluded.value, text = excluded.text, number = excluded.number
"""
"""PostgreSQL makes text and number of the value, so that it does not matter how a client spelled it."""


def set_params(batch: Batch, run: RunState, params: Mapping[str, msgspec.Raw]) -> None:
    """Parameters. Raises `Poison` for a key that cannot be one, before anything is set."""
    for key in params:
        poison.name(key, "the name of a parameter")
    for key, value in params.items():
        batch.params[run.project, run.run, key] = ParamRow(run.project, run.run, key, value)


def set_tags(batch: Batch, run: RunState, tags: Mapping[str, str]) -> None:
    """Tags. Raises `Poison` like `set_params`."""
    for key in tags:
        poison.name(key, "the name of a tag")
    for key, value in tags.items():
        batch.tags[run.project, run.run, key] = TagRow(run.project, run.run, key, value)


def on_params(batch: Batch, run: RunState, entry: Entry, event: Any) -> None:
    """``param``."""
    batch.time(run, entry, event.time)
    set_params(batch, run, event.params)


def on_tags(batch: Batch, run: RunState, entry: Entry, event: Any) -> None:
    """``tag``."""
    batch.time(run, entry, event.time)
    set_tags(batch, run, event.tags)
