"""What the docs say of integrations is what there is: extras, modules, public names."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Final

import pytest

from tracecraft.integrations.toolbox import TOOLS
from tracecraft.integrations.toolbox.tool import PREFIX

ROOT: Final = Path(__file__).parents[2]
CODE: Final = ROOT / "sdk" / "tracecraft" / "integrations"
PAGES: Final = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def public_names(module: Path) -> list[str]:
    """Its ``__all__``, read and not imported: the framework may not be here."""
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and any(getattr(one, "id", "") == "__all__" for one in node.targets):
            names: list[str] = ast.literal_eval(node.value)
            return names
    return []


def adapters() -> dict[str, list[str]]:
    """The public names of each adapter, by its module."""
    modules = {path.parent.name if path.name == "__init__.py" else path.stem: path for path in CODE.glob("*.py")}
    modules |= {path.parent.name: path for path in CODE.glob("*/__init__.py")}
    return {name: public_names(path) for name, path in sorted(modules.items()) if public_names(path)}


@pytest.mark.parametrize("module", adapters())
def test_the_python_reference_has_every_public_name_of_an_adapter(module: str) -> None:
    text = (ROOT / "docs/reference/python.md").read_text(encoding="utf-8")
    section = text.partition("## `tracecraft.integrations`\n")[2].partition("\n## ")[0]
    names = [name for name in adapters()[module] if name != "flush"]  # the same in all of them
    unknown = [name for name in names if not re.search(rf"`{module}\.{name}\b", section)]
    assert section
    assert unknown == []


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])
def test_a_page_installs_tracecraft_from_a_clone_and_extras_that_there_are(page: Path) -> None:
    installs = re.findall(r"pip install .*", page.read_text(encoding="utf-8"))
    from_an_index = [line for line in installs if "tracecraft-nats" in line]
    extras = {
        extra for line in installs for found in re.findall(r"'\.\[([^]]+)\]'", line) for extra in found.split(",")
    }
    assert from_an_index == []
    assert extras <= PROJECT["optional-dependencies"].keys()


def test_one_page_names_every_tool() -> None:
    page = (ROOT / "docs/integrations/mcp.md").read_text(encoding="utf-8")
    section = page.partition("## The tools\n")[2].partition("\n### ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [tool.name for tool in TOOLS]


@pytest.mark.parametrize(
    "module", [name for name, public in adapters().items() if "tools" in public or name == "hermes"]
)
def test_the_page_of_an_adapter_leads_to_its_tools_and_their_prefix(module: str) -> None:
    page = f"{module.replace('_', '-')}.md"
    prefix = "mcp__tracecraft__" if module == "claude_agent_sdk" else PREFIX
    text = (ROOT / "docs/integrations" / page).read_text(encoding="utf-8")
    rows = (ROOT / "docs/integrations/mcp.md").read_text(encoding="utf-8").splitlines()
    assert f"[all sixteen](mcp.md#the-tools), `{prefix}claim`" in text
    assert any(f"]({page})" in row and f"| `{prefix}` |" in row for row in rows)


def test_what_other_programs_load_from_tracecraft_is_there() -> None:
    roots = ("sdk", "cli", "bridge", "tracecraft", "deploy")
    named = [*PROJECT["scripts"].values(), *(m for group in PROJECT["entry-points"].values() for m in group.values())]
    files = [(ROOT / root / name.partition(":")[0].replace(".", "/")) for name in named for root in roots]
    there = {path.name for path in files if path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()}
    assert {name.partition(":")[0].rpartition(".")[2] for name in named} <= there
