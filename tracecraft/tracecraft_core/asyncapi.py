"""The AsyncAPI 3.0 document: every subject, who writes it, and what stands in it, drawn from the code.

NATS has next to no bindings in the standard, and JetStream none, so what concerns streams stands in ``x-`` extensions.
Actions are those of an agent: what it sends, and what it receives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from tracecraft_core import subjects, topology
from tracecraft_core.channels import CHANNELS, PARAMETERS, Channel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    AttributeDocs = Callable[[type | ModuleType], dict[str, str]]

VERSION: Final = "1.0.0"
"""Version of the protocol; its first number is raised with the meaning of a body (``v``)."""


def document(schemas: Sequence[str], attribute_docs: AttributeDocs) -> dict[str, Any]:
    """The whole document; ``schemas`` are the names of the bodies, ``attribute_docs`` tells what constants mean."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "tracecraft",
            "version": VERSION,
            "description": "The subjects and bodies of tracecraft on NATS. protocol.md says how they work together.",
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "local": {"host": "127.0.0.1:4222", "protocol": "nats", "description": "nats-server 2.15 with JetStream."}
        },
        "channels": {channel.name: _channel(channel) for channel in CHANNELS},
        "operations": _operations(),
        "components": {
            "schemas": {name: _multi_format(name) for name in schemas},
            "messages": {channel.name: _message(channel, attribute_docs(subjects)) for channel in CHANNELS},
        },
        "x-jetstream-streams": topology.definitions(),
    }


def _channel(channel: Channel) -> dict[str, Any]:
    described: dict[str, Any] = {
        "address": channel.address,
        "title": channel.title,
        "summary": channel.summary,
        "messages": {channel.name: {"$ref": f"#/components/messages/{channel.name}"}},
        "parameters": {name: _parameter(name, channel) for name in PARAMETERS if f"{{{name}}}" in channel.address},
        "x-written-by": channel.written_by,
        "x-jetstream": {"stream": channel.stream} if channel.stream else {"stored": False},
    }
    if channel.source:
        described["x-jetstream"]["source"] = subjects.kv_stream(channel.source)
    if channel.answer is not None:
        described["x-answer"] = {"$ref": f"#/components/schemas/{channel.answer.__name__}"}
    return described


def _parameter(name: str, channel: Channel) -> dict[str, Any]:
    described: dict[str, Any] = {"description": PARAMETERS[name]}
    if name == "event" and channel.events:
        described["enum"] = list(channel.events)
    return described


def _message(channel: Channel, meanings: dict[str, str]) -> dict[str, Any]:
    described: dict[str, Any] = {"name": channel.name, "title": channel.title, "contentType": "application/json"}
    if channel.headers:
        properties = {
            getattr(subjects, constant): {"type": "string", "description": meanings[constant]}
            for constant in channel.headers
        }
        described["headers"] = {"type": "object", "properties": properties}
    if channel.body is not None:
        described["payload"] = {"$ref": f"#/components/schemas/{channel.body.__name__}"}
    else:
        described["payload"] = {"description": "Any JSON."}
    if channel.example is not None:
        described["examples"] = [{"name": channel.name, "payload": msgspec.to_builtins(channel.example)}]
    return described


def _multi_format(name: str) -> dict[str, Any]:
    """A schema in a file of its own, in a dialect newer than AsyncAPI's."""
    return {
        "schemaFormat": "application/schema+json;version=draft-2020-12",
        "schema": {"$ref": f"./schemas/{name}.json"},
    }


def _operations() -> dict[str, Any]:
    operations: dict[str, Any] = {}
    for channel in CHANNELS:
        noun = channel.name[0].upper() + channel.name[1:]
        for wanted, action in ((channel.sends, "send"), (channel.receives, "receive")):
            if wanted:
                operations[f"{action}{noun}"] = {"action": action, "channel": {"$ref": f"#/channels/{channel.name}"}}
    return operations
