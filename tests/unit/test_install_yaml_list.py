"""One word more or less in a list of a YAML file: every other byte stays."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest
import yaml

from tracecraft_cli.install import yaml_list
from tracecraft_core.errors import UsageError

PATH = Path("config.yaml")
KEYS = ("plugins", "enabled")

FILES = {
    "empty": "",
    "comments-only": "# nothing yet\n",
    "without-plugins": "# mine\nmodel:   # tail\n  provider: custom\nodd: {b: 1, a: 2}\n",
    "without-newline": "model: x",
    "plugins-without-list": "plugins:\n  disabled: [a]  # why\n# end\n",
    "plugins-empty": "plugins:\nmodel: x\n",
    "plugins-flow": "plugins: {disabled: [a]}  # why\n",
    "plugins-flow-empty": "plugins: {}\n",
    "list-empty": "plugins:\n  enabled: []   # none\n  disabled: []\n",
    "list-empty-key": "plugins:\n  enabled:\n  disabled: []\nmodel: x\n",
    "list-flow": "plugins:\n  enabled: [a, 'b']  # two\nmodel: x\n",
    "list-block": "plugins:\n  enabled:\n    # first\n    - a  # one\n    - 'b'\n\nmodel: x\n",
    "list-not-indented": "plugins:\n  enabled:\n  - a\n  disabled: []\n",
    "wide-indent": "plugins:\n        enabled:\n            - a\n",
}
"""What people have in their file; each is laid out in another way."""


@pytest.mark.parametrize("name", FILES)
def test_a_word_is_added_and_no_line_is_lost(name: str) -> None:
    before = FILES[name]
    after = yaml_list.with_one(before, KEYS, "tracecraft", PATH)
    assert "tracecraft" in yaml.safe_load(after)["plugins"]["enabled"]
    lost = [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line.startswith("- ")]
    assert [line for line in lost if "enabled" not in line and "plugins: {" not in line] == []
    comments = [word for word in before.split() if word.startswith("#")]
    assert [word for word in after.split() if word.startswith("#")] == comments


@pytest.mark.parametrize("name", FILES)
def test_adding_twice_is_adding_once(name: str) -> None:
    after = yaml_list.with_one(FILES[name], KEYS, "tracecraft", PATH)
    assert yaml_list.with_one(after, KEYS, "tracecraft", PATH) == after


@pytest.mark.parametrize("name", FILES)
def test_what_was_added_can_be_taken_away(name: str) -> None:
    before = FILES[name]
    after = yaml_list.without(yaml_list.with_one(before, KEYS, "tracecraft", PATH), KEYS, "tracecraft", PATH)
    assert "tracecraft" not in after
    old, new = yaml.safe_load(before) or {}, yaml.safe_load(after)
    assert {key: one for key, one in new.items() if key != "plugins"} == {
        key: one for key, one in old.items() if key != "plugins"
    }
    assert new["plugins"]["enabled"] in (None, [], (old.get("plugins") or {}).get("enabled"))


@pytest.mark.parametrize("name", ["list-empty", "list-flow", "list-block", "list-not-indented", "wide-indent"])
def test_a_list_that_was_there_is_the_same_to_the_byte_afterwards(name: str) -> None:
    added = yaml_list.with_one(FILES[name], KEYS, "tracecraft", PATH)
    assert yaml_list.without(added, KEYS, "tracecraft", PATH) == FILES[name]


def test_taking_away_leaves_what_a_person_wrote_meanwhile() -> None:
    text = "plugins:\n  enabled:\n    - mine  # new\n    - tracecraft\n    - yours\n"
    assert yaml_list.without(text, KEYS, "tracecraft", PATH) == "plugins:\n  enabled:\n    - mine  # new\n    - yours\n"


@pytest.mark.parametrize(
    "text",
    ["plugins: &p\n  enabled: &e [a]\nother: *e\n", "plugins: text\n", "plugins:\n  enabled: text\n"],
    ids=["anchors", "plugins-is-text", "list-is-text"],
)
def test_what_is_not_understood_is_left_to_the_person(text: str) -> None:
    with pytest.raises(UsageError, match=r"add tracecraft to plugins\.enabled by hand"):
        yaml_list.with_one(text, KEYS, "tracecraft", PATH)
