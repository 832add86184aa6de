"""The generated reference: complete, fresh, valid, and the same every time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import tracecraft_core
from tracecraft_core import bodies, reference, subjects, topology
from tracecraft_core.bodies import Body
from tracecraft_core.channels import CHANNELS, PARAMETERS
from tracecraft_core.errors import Malformed
from tracecraft_core.queries import VERBS
from tracecraft_core.run_events import EVENTS

FOLDER = Path(__file__).parents[2] / "docs/reference"

REFERENCE = {"type": "object", "required": ["$ref"], "properties": {"$ref": {"type": "string"}}}
STRUCTURE: dict[str, Any] = {
    "type": "object",
    "required": ["asyncapi", "info", "channels", "operations", "components"],
    "properties": {
        "asyncapi": {"const": "3.0.0"},
        "info": {"required": ["title", "version"]},
        "defaultContentType": {"type": "string"},
        "servers": {"additionalProperties": {"required": ["host", "protocol"]}},
        "channels": {
            "additionalProperties": {
                "required": ["address", "messages"],
                "properties": {
                    "address": {"type": "string"},
                    "messages": {"minProperties": 1, "additionalProperties": REFERENCE},
                    "parameters": {
                        "additionalProperties": {
                            "properties": {
                                "description": {"type": "string"},
                                "enum": {"type": "array", "items": {"type": "string"}},
                            },
                            "additionalProperties": False,
                        }
                    },
                },
                "patternProperties": {"^x-": True},
            }
        },
        "operations": {
            "additionalProperties": {
                "required": ["action", "channel"],
                "properties": {"action": {"enum": ["send", "receive"]}, "channel": REFERENCE},
            }
        },
        "components": {
            "properties": {
                "schemas": {"additionalProperties": {"required": ["schemaFormat", "schema"]}},
                "messages": {
                    "additionalProperties": {
                        "properties": {"headers": {"properties": {"type": {"const": "object"}}}},
                    }
                },
            },
            "additionalProperties": False,
        },
    },
    "patternProperties": {"^x-": True},
    "additionalProperties": False,
}
"""What AsyncAPI 3.0 demands of the parts that we use."""


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The AsyncAPI document as it is committed."""
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / "asyncapi.yaml").read_text(encoding="utf-8"))
    return loaded


def test_the_committed_reference_is_what_the_code_says() -> None:
    assert reference.stale(FOLDER) == [], "run 'make docs'"


def test_a_changed_a_missing_and_a_left_over_file_are_stale(tmp_path: Path) -> None:
    reference.write(tmp_path)
    assert reference.stale(tmp_path) == []
    (tmp_path / "schemas/Lease.json").write_text("{}", encoding="utf-8")
    (tmp_path / "schemas/Message.json").unlink()
    (tmp_path / "schemas/Gone.json").write_text("{}", encoding="utf-8")
    assert reference.stale(tmp_path) == ["schemas/Gone.json", "schemas/Lease.json", "schemas/Message.json"]
    assert reference.write(tmp_path) == ["schemas/Gone.json", "schemas/Lease.json", "schemas/Message.json"]
    assert not (tmp_path / "schemas/Gone.json").exists()
    assert reference.stale(tmp_path) == []


def test_another_process_writes_the_same_bytes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tracecraft_core.reference", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, env={"PYTHONHASHSEED": "7"})
    assert {path: (tmp_path / path).read_text(encoding="utf-8") for path in reference.render()} == reference.render()


def test_a_call_without_a_folder_says_how() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tracecraft_core.reference"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "docs/reference" in done.stderr


def test_every_body_has_a_schema_with_a_description() -> None:
    names = [kind.__name__ for kind in reference.kinds()]
    assert len(names) == len(set(names)), "two bodies of one name would be one file"
    ours = [kind for kind in Body.__subclasses__() if kind.__module__.startswith(tracecraft_core.__name__)]
    assert {kind.__name__ for kind in ours} <= set(names)
    assert {kind.__name__ for kind in EVENTS.values()} <= set(names)
    assert {kind.__name__ for pair in VERBS.values() for kind in pair} <= set(names)
    for kind in reference.kinds():
        schema = reference.schema(kind)
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["description"], kind


def test_docstrings_of_attributes_become_descriptions() -> None:
    properties = reference.schema(bodies.Lease)["properties"]
    assert properties["ttl"]["description"] == "Seconds from the last renewal."
    assert properties["v"]["description"] == "Version of the body's meaning."
    nested = reference.schema(bodies.TaskRecord)["$defs"]["Verification"]["properties"]
    assert nested["output_sha256"]["description"] == "Of standard output and standard error together."
    assert "`fetched`" in reference.schema(bodies.Receipt)["properties"]["state"]["description"]


def test_a_schema_takes_what_the_code_takes_and_refuses_what_it_refuses() -> None:
    validator = jsonschema.Draft202012Validator(reference.schema(bodies.Receipt))
    validator.validate({"id": 3, "state": "acked", "a_field_of_tomorrow": 1})
    for wrong in ({"id": "3", "state": "acked"}, {"id": 3, "state": "read"}, {"state": "acked"}):
        assert not validator.is_valid(wrong)
        with pytest.raises(Malformed):
            bodies.decode(bodies.Receipt, json.dumps(wrong).encode(), "test")


def test_the_document_has_the_structure_of_asyncapi_3(document: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(STRUCTURE).validate(document)


def test_every_reference_in_the_document_leads_somewhere(document: dict[str, Any]) -> None:
    for reference_ in _references(document):
        if reference_.startswith("./"):
            assert (FOLDER / reference_).is_file(), reference_
            continue
        place: Any = document
        for token in reference_.removeprefix("#/").split("/"):
            assert token in place, reference_
            place = place[token]


def _references(part: Any) -> list[str]:
    if isinstance(part, dict):
        own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        return own + [found for value in part.values() for found in _references(value)]
    return [found for item in part for found in _references(item)] if isinstance(part, list) else []


def test_every_parameter_of_an_address_is_described_and_no_other(document: dict[str, Any]) -> None:
    for channel in document["channels"].values():
        tokens = [token for token in channel["address"].split(".") if token.startswith("{")]
        assert [f"{{{name}}}" for name in channel["parameters"]] == sorted(tokens, key=_order)


def _order(token: str) -> int:
    return list(PARAMETERS).index(token.strip("{}"))


def test_every_family_of_subjects_is_a_channel(document: dict[str, Any]) -> None:
    addresses = {channel["address"] for channel in document["channels"].values()}
    families = {address.split(".")[2] for address in addresses if address.startswith("tc.")}
    assert families == {"msg", "all", "receipt", "agent", "run", "memory", "task"}
    buckets = {subjects.MEMORY, subjects.TASKS, subjects.LEASES, subjects.AGENTS}
    assert {address.split(".")[1] for address in addresses if address.startswith("$KV.")} == buckets
    assert {f"tc.{{project}}.run.{{run}}.{{agent}}.{event}" for event in EVENTS} <= addresses
    assert {f"tcsvc.{{project}}.{verb}" for verb in VERBS} <= addresses


def test_every_stream_is_described_as_it_is_created(document: dict[str, Any]) -> None:
    assert document["x-jetstream-streams"] == topology.definitions()
    streams = {channel["x-jetstream"].get("stream") for channel in document["channels"].values()} - {None}
    assert streams == {definition["name"] for definition in topology.definitions()}


def test_every_example_of_the_document_fits_its_schema(document: dict[str, Any]) -> None:
    checked = 0
    for name, message in document["components"]["messages"].items():
        for example in message.get("examples", []):
            payload = message["payload"]
            if "$ref" in payload:
                body = payload["$ref"].rpartition("/")[2]
                schema = json.loads((FOLDER / f"schemas/{body}.json").read_text(encoding="utf-8"))
                jsonschema.Draft202012Validator(schema).validate(example["payload"])
                assert example["payload"].keys() <= schema["properties"].keys(), name
            checked += 1
    assert checked == len(CHANNELS)
