"""What a client may read without a tool: tasks, agents, mail, memory and runs, each as JSON under an address.

Reading changes nothing: mail that is read here stays unread.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote

SCHEME: Final = "tracecraft://"
JSON: Final = "application/json"

RESOURCES: Final[tuple[dict[str, Any], ...]] = (
    {
        "uri": f"{SCHEME}tasks",
        "name": "tasks",
        "title": "Tasks",
        "description": "The tasks of the project, with state and owner.",
        "mimeType": JSON,
    },
    {
        "uri": f"{SCHEME}agents",
        "name": "agents",
        "title": "Agents",
        "description": "Who is there, and who was.",
        "mimeType": JSON,
    },
    {
        "uri": f"{SCHEME}inbox",
        "name": "inbox",
        "title": "Inbox",
        "description": "Unread messages; they stay unread.",
        "mimeType": JSON,
    },
)
"""Resources with an address of their own, as the protocol describes them."""

TEMPLATES: Final[tuple[dict[str, Any], ...]] = (
    {
        "uriTemplate": f"{SCHEME}memory/{{key}}",
        "name": "memory",
        "title": "Shared memory",
        "description": "The value of a key.",
        "mimeType": JSON,
    },
    {
        "uriTemplate": f"{SCHEME}runs/{{id}}",
        "name": "run",
        "title": "Run",
        "description": "A run: agents, params, metrics, files, cost.",
        "mimeType": JSON,
    },
    {
        "uriTemplate": f"{SCHEME}runs/{{id}}/steps",
        "name": "steps",
        "title": "Steps of a run",
        "description": "The first steps of a run, with what went in and came out.",
        "mimeType": JSON,
    },
)
"""Addresses with a variable."""


def reading(uri: str) -> tuple[str, dict[str, Any]] | None:
    """The tool and the arguments that read an address; ``None`` for one that is not ours."""
    if not uri.startswith(SCHEME):
        return None
    parts = [unquote(part) for part in uri.removeprefix(SCHEME).split("/")]
    match parts:
        case ["tasks"]:
            return "tasks", {"limit": 100}
        case ["agents"]:
            return "agents", {"all": True}
        case ["inbox"]:
            return "inbox", {"limit": 20, "peek": True}
        case ["memory", *key] if any(key):
            return "memory_get", {"key": "/".join(key)}
        case ["runs", run] if run:
            return "runs", {"run": run}
        case ["runs", run, "steps"] if run:
            return "runs", {"run": run, "steps": True, "limit": 50}
    return None
