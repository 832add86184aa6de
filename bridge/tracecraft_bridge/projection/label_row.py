"""The rows of parameters and tags."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from tracecraft_bridge.projection.table import Table


class ParamRow(msgspec.Struct, gc=False):
    """Of a row of ``run_param`` what is not made of the value."""

    project: str
    run: str
    key: str
    value: Any


class TagRow(msgspec.Struct, gc=False):
    """A row of ``run_tag``."""

    project: str
    run: str
    key: str
    value: str


TAGS: Final = Table("run_tag", TagRow, ("project", "run", "key"))
