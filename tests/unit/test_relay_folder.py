"""A folder in which others write leads nowhere else."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

import pytest

from tracecraft_cli.relay.folder import MANY, Folder, Suspicious

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("secret", encoding="utf-8")
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "place"
    path.mkdir()
    return path


@pytest.fixture
def folder(place: Path) -> Iterator[Folder]:
    with contextlib.closing(Folder.open(place)) as opened:
        yield opened


def test_a_link_is_not_followed_for_reading(folder: Folder, place: Path, secret: Path) -> None:
    (place / "x").symlink_to(secret)
    with pytest.raises(Suspicious):
        folder.read("x", 100)


def test_a_link_to_a_folder_is_not_entered_and_not_replaced(folder: Folder, place: Path, tmp_path: Path) -> None:
    (place / "x").symlink_to(tmp_path)
    for make in (True, False):
        with pytest.raises(Suspicious):
            folder.enter("x", make=make)


def test_a_second_name_of_a_file_is_refused(folder: Folder, place: Path, secret: Path) -> None:
    (place / "x").hardlink_to(secret)
    with pytest.raises(Suspicious, match="another name"):
        folder.read("x", 100)


def test_a_pipe_is_refused_and_waited_for_by_nobody(folder: Folder, place: Path) -> None:
    os.mkfifo(place / "x")
    with pytest.raises(Suspicious, match="no regular file"):
        folder.read("x", 100)


def test_a_file_of_somebody_else_is_refused(folder: Folder, place: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a file away")
    (place / "x").write_text("x", encoding="utf-8")
    (place / "y").mkdir()
    for name in ("x", "y"):
        os.chown(place / name, 12345, 12345)
    with pytest.raises(Suspicious, match="another user"):
        folder.read("x", 100)
    with pytest.raises(Suspicious, match="another user"):
        folder.enter("y")


def test_a_file_over_the_limit_is_refused(folder: Folder, place: Path) -> None:
    (place / "x").write_bytes(bytes(101))
    with pytest.raises(Suspicious, match="over the limit"):
        folder.read("x", 100)
    assert folder.read("x", 101) == bytes(101)


def test_writing_replaces_a_link_and_leaves_what_it_leads_to(folder: Folder, place: Path, secret: Path) -> None:
    (place / "x").symlink_to(secret)
    folder.write("x", b"new")
    (place / "y").symlink_to(secret)
    os.close(folder.create("y"))
    assert secret.read_text(encoding="utf-8") == "secret"
    assert (place / "x").read_bytes() == b"new"


def test_discarding_a_folder_leaves_what_its_links_lead_to(folder: Folder, place: Path, secret: Path) -> None:
    (place / "a/b").mkdir(parents=True)
    (place / "a/b/x").symlink_to(secret)
    (place / "a/y").symlink_to(secret.parent)
    for number in range(MANY + 10):
        (place / "a" / str(number)).touch()
    folder.discard("a")
    assert not (place / "a").exists()
    assert secret.exists()


@pytest.mark.parametrize("what", ["link", "folder link", "pipe", "many", "large", "deep"])
def test_a_folder_with_something_else_in_it_is_not_copied(
    folder: Folder, place: Path, secret: Path, tmp_path: Path, what: str
) -> None:
    (place / "a/b").mkdir(parents=True)
    match what:
        case "link":
            (place / "a/b/x").symlink_to(secret)
        case "folder link":
            (place / "a/b/x").symlink_to(secret.parent)
        case "pipe":
            os.mkfifo(place / "a/b/x")
        case "many":
            for number in range(11):
                (place / "a/b" / str(number)).touch()
        case "large":
            (place / "a/b/x").write_bytes(bytes(60))
            (place / "a/b/y").write_bytes(bytes(60))
        case "deep":
            (place / "a" / "/".join("d" * 20)).mkdir(parents=True)
    with pytest.raises(Suspicious):
        folder.copy("a", tmp_path / "copy", limit=100, files=10)


def test_a_folder_is_copied_whole(folder: Folder, place: Path, tmp_path: Path) -> None:
    (place / "a/b").mkdir(parents=True)
    (place / "a/b/x").write_bytes(b"x")
    folder.copy("a", tmp_path / "copy", limit=100, files=10)
    assert (tmp_path / "copy/b/x").read_bytes() == b"x"


def test_what_is_swapped_for_a_link_meanwhile_does_not_lead_out(folder: Folder, place: Path, secret: Path) -> None:
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            with contextlib.suppress(OSError):
                (place / "x").write_bytes(b"ours")
                (place / "x").unlink()
                (place / "x").symlink_to(secret)
                (place / "x").unlink()

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        for _ in range(2_000):
            with contextlib.suppress(OSError, Suspicious):
                assert folder.read("x", 100) in (b"", b"ours")
    finally:
        done.set()
        swapping.join()
    assert secret.read_text(encoding="utf-8") == "secret"
