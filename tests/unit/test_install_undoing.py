"""Uninstalling leaves Hermes' settings as they were before the install, to the byte; and what was written since."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from tracecraft_cli.install import doing, hermes, place, undoing
from tracecraft_core.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

FILES: dict[str, bytes | None] = {
    "no-file": None,
    "empty": b"",
    "comments-only": b"# nothing yet\n",
    "without-plugins": b"# mine\nmodel:   # tail\n  provider: custom\nodd: {b: 1, a: 2}\n\n\n",
    "without-newline": b"model: x",
    "plugins-empty": b"plugins:\nmodel: x\n",
    "plugins-without-list": b"plugins:\n  disabled: [a]  # why\n# end",
    "plugins-flow": b"plugins: {disabled: [a]}  # why\n",
    "plugins-flow-empty": b"plugins: {}\n",
    "list-empty": b"plugins:\n  enabled: []   # none\n  disabled: []\n",
    "list-empty-key": b"plugins:\n  enabled:\n  disabled: []\nmodel: x\n",
    "list-flow": b"plugins:\n  enabled: [a,\n    'b']  # two\nmodel: x",
    "list-block": b"plugins:\n  enabled:\n    # first\n    - a  # one\n    - 'b'\n\nmodel: x\n",
    "list-without-newline": b"plugins:\n  enabled:\n  - a",
    "wide-indent": b"plugins:\n        enabled:\n            - a   \n",
    "crlf": b"# mine\r\nplugins:\r\n  enabled:\r\n    - a\r\nz: 1\r\n",
    "crlf-without-plugins": b"z: 1\r\ny: 2",
    "byte-order-mark": b"\xef\xbb\xbfplugins:\n  enabled:\n    - \xc3\xa4\n",
    "disabled-flow": b"plugins:\n  enabled: []\n  disabled: [ tracecraft ]  # not now\n",
    "disabled-one-of-two": b"plugins:\n  disabled: [a, tracecraft]\n",
    "disabled-block": b"plugins:\n  disabled:\n    - tracecraft  # why\n    - a\n  enabled: [b]\n",
    "disabled-alone": b"plugins:\n  disabled:\n  - tracecraft",
    "on-before": b"plugins:\n  enabled:\n    - tracecraft\n    - a\n",
    "on-and-off-before": b"plugins:\n  enabled: [tracecraft]\n  disabled: [tracecraft]\n",
}
"""What people have in their file; each is laid out in another way."""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hermes' settings, which are not there yet."""
    program = tmp_path / "bin" / "hermes"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("HERMES_HOME", str(tmp_path / "hermes"))
    (tmp_path / "hermes").mkdir()
    return tmp_path / "hermes" / "config.yaml"


def install() -> None:
    doing.do(hermes.install())
    assert hermes.enabled()


def uninstall() -> None:
    doing.do(hermes.uninstall())


@pytest.mark.parametrize("name", FILES)
def test_it_is_as_it_was_to_the_byte(config: Path, name: str) -> None:
    before = FILES[name]
    if before is not None:
        config.write_bytes(before)
    install()
    install()
    uninstall()
    assert (config.read_bytes() if config.exists() else None) == before
    assert not undoing.note(config).exists()
    assert not hermes.uninstall()


MEANWHILE = {
    "no-file": (None, "more: 1\n", "more: 1\n"),
    "made-keys": ("a: 1\n", "more: 1  # since\n", "a: 1\nmore: 1  # since\n"),
    "made-keys-and-another": ("a: 1\n", "    - other\n", "a: 1\nplugins:\n  enabled:\n    - other\n"),
    "made-list": ("plugins:\n  x: 1  # one\n", "more: 1\n", "plugins:\n  x: 1  # one\nmore: 1\n"),
    "made-list-flow": ("plugins: {x: 1}\n", "more: 1\n", "plugins: {x: 1}\nmore: 1\n"),
    "made-list-flow-alone": ("plugins: {}\n", "more: 1\n", "plugins: {}\nmore: 1\n"),
    "list-that-was-empty": ("plugins:\n  enabled: []\n", "more: 1\n", "plugins:\n  enabled: []\nmore: 1\n"),
    "crlf": ("plugins:\r\n  x: 1\r\n", "more: 1\r\n", "plugins:\r\n  x: 1\r\nmore: 1\r\n"),
    "disabled": ("plugins:\n  disabled: [tracecraft]\n", "more: 1\n", "plugins:\n  disabled: [tracecraft]\nmore: 1\n"),
    "on-before": ("plugins:\n  enabled: [tracecraft]\n", "m: 1\n", "plugins:\n  enabled: [tracecraft]\nm: 1\n"),
}
"""By name: the file, what the person adds at its end after the install, and the file after the uninstall."""


@pytest.mark.parametrize("name", MEANWHILE)
def test_what_the_person_wrote_since_stays_and_only_ours_goes(config: Path, name: str) -> None:
    before, more, after = MEANWHILE[name]
    if before is not None:
        config.write_bytes(before.encode())
    install()
    with config.open("ab") as file:
        file.write(more.encode())
    uninstall()
    assert config.read_bytes().decode() == after


def test_a_file_that_hermes_wrote_anew_loses_what_was_put_there(config: Path) -> None:
    config.write_text("plugins:\n  disabled: [tracecraft, a]  # why\n")
    install()
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | {"model": "x"}))
    uninstall()
    assert yaml.safe_load(config.read_text()) == {"plugins": {"disabled": ["a", "tracecraft"]}, "model": "x"}


def test_what_the_person_has_turned_off_since_stays_off(config: Path) -> None:
    install()
    config.write_text("plugins:\n  enabled: []\n  disabled: [tracecraft]\n")
    uninstall()
    assert config.read_text() == "plugins:\n  enabled: []\n  disabled: [tracecraft]\n"


def test_a_file_that_is_gone_stays_gone(config: Path) -> None:
    install()
    config.unlink()
    uninstall()
    assert not config.exists()
    assert not undoing.note(config).exists()


def test_an_install_that_mends_another_is_undone_with_it(config: Path) -> None:
    config.write_text("a: 1\n")
    install()
    with config.open("a") as file:
        file.write("  disabled: [tracecraft]\n")
    install()
    uninstall()
    assert config.read_text() == "a: 1\nplugins:\n  disabled: [tracecraft]\n"


def test_a_second_install_after_everything_was_undone_by_hand_is_undone_alone(config: Path) -> None:
    install()
    config.write_text("plugins:\n  enabled: []\n")
    install()
    with config.open("a") as file:
        file.write("a: 1\n")
    uninstall()
    assert config.read_text() == "plugins:\n  enabled: []\na: 1\n"


def test_a_plugin_that_no_install_turned_on_is_named_and_stays(config: Path) -> None:
    config.write_text("plugins:\n  enabled: [tracecraft]\n")
    (left,) = hermes.uninstall().left
    assert "'hermes plugins disable tracecraft' turns it off" in left


def test_the_note_holds_nothing_of_the_rest_of_the_file(config: Path) -> None:
    config.write_text("key: sk-secret-of-mine\nplugins:\n  enabled:\n    - a\nmore: sk-other\n")
    install()
    assert "sk-" not in undoing.note(config).read_text()
    assert undoing.note(config).is_relative_to(place.folder())


def test_a_file_that_cannot_be_changed_any_more_is_left_to_the_person(config: Path) -> None:
    install()
    text = "plugins:\n  enabled: &e\n    - tracecraft\nother: *e\n"
    config.write_text(text)
    with pytest.raises(UsageError, match=r"remove tracecraft from plugins\.enabled by hand"):
        uninstall()
    assert config.read_text() == text
    assert undoing.note(config).exists()
