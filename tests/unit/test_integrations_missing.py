"""An adapter without its framework says what to install; nothing else of tracecraft needs one."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

ADAPTERS = {
    "agent_framework": "agent-framework",
    "autogen": "autogen",
    "claude_agent_sdk": "claude",
    "crewai": "crewai",
    "langgraph": "langgraph",
    "openai_agents": "openai-agents",
    "pydantic_ai": "pydantic-ai",
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_missing_framework_is_told_with_its_extra(name: str) -> None:
    with pytest.raises(ImportError, match=rf"is not installed.*pip install '\.\[{ADAPTERS[name]}\]'"):
        importlib.import_module(f"tracecraft.integrations.{name}")


def test_no_adapter_is_imported_before_it_is_asked_for() -> None:
    program = "import sys, tracecraft, tracecraft.integrations; print([m for m in sys.modules if 'integrations.' in m])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "['tracecraft.integrations.guard', 'tracecraft.integrations.closing']\n"
