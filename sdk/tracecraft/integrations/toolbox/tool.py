"""`Tool`: one verb as a model sees it: its words, the JSON schema of what it takes, and of what it returns.

The schemas are made from the structs that the arguments are decoded into, so what is promised is what is checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tracecraft.integrations.toolbox.problem import INVALID_ARGUMENTS, ToolProblem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracecraft.integrations.toolbox.arguments import Arguments
    from tracecraft.integrations.toolbox.results import Result

PREFIX: Final = "tracecraft_"
"""In front of a tool's name where the tools of all makers share one list."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A verb for models. The flags mean what the annotations of MCP mean."""

    name: str
    title: str
    description: str
    """What it does and when to use it, for a model."""
    parameters: dict[str, Any]
    """JSON schema (2020-12) of the arguments; flat, without references."""
    result: dict[str, Any]
    """JSON schema (2020-12) of what a call returns."""
    read_only: bool
    destructive: bool
    idempotent: bool
    open_world: bool

    @property
    def long_name(self) -> str:
        """The name where it must be unmistakable: ``tracecraft_claim``."""
        return PREFIX + self.name


def parameters_of(kind: type[Arguments]) -> dict[str, Any]:
    """The JSON schema of arguments."""
    schema = _at_root(kind)
    for described in schema["properties"].values():
        if "enum" in described:
            described["type"] = "string"  # implied by the values, but some models' APIs insist
    return schema


def result_of(kind: type[Result]) -> dict[str, Any]:
    """The JSON schema of a result."""
    return _at_root(kind)


def _at_root(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """msgspec's schema with the struct itself in place of a reference to it."""
    schema = msgspec.json.schema(kind)
    defined: dict[str, Any] = schema["$defs"]
    root: dict[str, Any] = defined.pop(kind.__name__)
    root.pop("title", None)
    root.pop("description", None)
    root.setdefault("properties", {})
    root.setdefault("required", [])
    return root | ({"$defs": defined} if defined else {})


def decode(tool: str, kind: type[Arguments], arguments: object) -> Arguments:
    """The arguments, checked. Raises `ToolProblem` that names the argument and what was expected.

    ``null`` for an argument that may be left out means that it is left out: strict modes of models' APIs send all.
    """
    given = {} if arguments is None else arguments
    try:
        return msgspec.convert(_without_nulls(kind, given), kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ToolProblem(INVALID_ARGUMENTS, _said(tool, kind, error), retry=True, facts={"tool": tool}) from None


def _without_nulls(kind: type[Arguments], given: object) -> object:
    if not isinstance(given, dict):
        return given
    required = {field.name for field in msgspec.structs.fields(kind) if field.required}
    return {key: value for key, value in given.items() if value is not None or key in required}


def _said(tool: str, kind: type[Arguments], error: Exception) -> str:
    names = ", ".join(field.name for field in msgspec.structs.fields(kind)) or "none"
    text = str(error).replace("Object contains unknown field", "there is no argument")
    text = text.replace("Object missing required field", "missing the argument").replace(" - at `$.", " - in `")
    return f"{tool}: {text}; its arguments are: {names}"


def example(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that fit a schema: the first example of every required one."""
    properties = parameters["properties"]
    return {name: properties[name]["examples"][0] for name in parameters["required"]}
