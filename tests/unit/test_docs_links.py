"""Where the docs lead: every link has a target, and every page is found from the README."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = (ROOT / "docs").resolve()
OTHERS: Final = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "examples/coding_agents/README.md")
PAGES: Final = [*(ROOT / name for name in OTHERS), *sorted(DOCS.rglob("*.md"))]
_CODE: Final = re.compile(r"^```.*?^```$|`[^`]*`", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\]\(([^)\s]+)\)")


def targets(page: Path) -> list[tuple[str, Path, str]]:
    """The links of a page that lead into this repository: as written, the file, the heading."""
    found = []
    for link in _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8"))):
        if "://" not in link:
            path, _, anchor = link.partition("#")
            found.append((link, (page.parent / path).resolve() if path else page.resolve(), anchor))
    return found


def anchors(page: Path) -> set[str]:
    """What a link can name within a page."""
    if page.suffix != ".md":
        return set()
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])
def test_a_link_leads_to_a_file_of_this_repository_and_a_heading_in_it(page: Path) -> None:
    links = targets(page)
    outside = [link for link, target, _ in links if not target.is_relative_to(ROOT.resolve())]
    missing = [link for link, target, _ in links if not target.exists()]
    nameless = [link for link, target, name in links if target.exists() and name and name not in anchors(target)]
    assert (outside, missing, nameless) == ([], [], [])


def test_every_page_is_found_from_the_readme() -> None:
    seen, ahead = set[Path](), [(ROOT / "README.md").resolve()]
    while ahead:
        page = ahead.pop()
        if page not in seen:
            seen.add(page)
            ahead += [target for _, target, _ in targets(page) if target.suffix == ".md" and target.is_file()]
    lost = {page.resolve() for page in PAGES if page.is_relative_to(DOCS)} - seen
    assert sorted(str(page.relative_to(DOCS)) for page in lost) == []


@pytest.mark.parametrize("folder", ["decisions", "explanation", "how-to", "integrations", "reference"])
def test_the_first_page_of_a_folder_lists_the_others(folder: str) -> None:
    first = DOCS / folder / "README.md"
    listed = {target for _, target, _ in targets(first)}
    pages = {page for page in (DOCS / folder).glob("*.md") if page != first}
    assert sorted(page.name for page in pages - listed) == []
