"""Files that are complete or absent, and their digests."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from zoo_core.files import sha256_of, write_whole


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("content", [b"", b"text", b"\x00\xff" * 100_000], ids=["empty", "short", "long"])
def test_writes_into_folders_that_do_not_exist_yet(tmp_path: Path, content: bytes, durable: bool) -> None:
    path = tmp_path / "a" / "b" / "file"
    write_whole(path, content, durable=durable)
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_replaces_a_longer_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, b"long" * 1000)
    write_whole(path, b"short")
    assert path.read_bytes() == b"short"


@pytest.mark.parametrize("mode", [0o600, 0o664])
def test_permission_bits_that_are_named(tmp_path: Path, mode: int) -> None:
    write_whole(tmp_path / "file", b"content", mode=mode)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "place" / "file"
    write_whole(path, b"old")
    with pytest.raises(TypeError):
        write_whole(path, "no bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_a_place_that_is_a_folder_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "place" / "folder"
    (folder / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="folder"):
        write_whole(folder, b"content")
    assert list(folder.parent.iterdir()) == [folder]


def test_a_folder_that_cannot_be_made_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        write_whole(tmp_path / "file" / "below", b"content")


def test_a_reader_never_sees_a_part(tmp_path: Path) -> None:
    path = tmp_path / "file"
    whole = {b"a" * 300_000, b"b" * 500_000}
    write_whole(path, min(whole))

    def write() -> None:
        for _ in range(20):
            for content in whole:
                write_whole(path, content, durable=False)

    writer = threading.Thread(target=write)
    writer.start()
    seen = {path.read_bytes() for _ in range(200)}
    writer.join()
    assert seen <= whole


@pytest.mark.parametrize("content", [b"", b"text", b"x" * 3_000_000], ids=["empty", "short", "many pieces"])
def test_sha256(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert sha256_of(path) == hashlib.sha256(content).hexdigest()


def test_sha256_of_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sha256_of(tmp_path / "nothing")


@pytest.mark.skipif(not hasattr(os, "fchmod"), reason="the system has no such permissions")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002], ids=oct)
def test_permissions_follow_the_users_mask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_whole(tmp_path / "file", b"")
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~mask
