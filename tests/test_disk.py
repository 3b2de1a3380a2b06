"""What is durable on return, and in which order it was made so."""

import errno
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from receiver import disk


def path_of(fd: int) -> Path:
    return Path(f"/proc/self/fd/{fd}").readlink()


@pytest.fixture
def trail(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path]]:
    """Return what was synced and renamed since, in order."""
    steps: list[tuple[str, Path]] = []

    def noting(name: str, real: Callable[..., None]) -> Callable[..., None]:
        def call(first: int | Path, *rest: Path) -> None:
            steps.append((name, path_of(first) if isinstance(first, int) else rest[0]))
            real(first, *rest)

        return call

    for name in ("fsync", "fdatasync", "replace"):
        monkeypatch.setattr(os, name, noting(name, getattr(os, name)))
    return steps


def test_a_file_is_synced_then_renamed_then_its_directory_is_synced(
    tmp_path: Path, trail: list[tuple[str, Path]]
) -> None:
    path = tmp_path / "object"
    disk.write_durably(path, b"content")
    (sync, temporary), renamed, directory = trail
    assert "fdatasync" == sync
    assert temporary.parent == tmp_path
    assert temporary.name.startswith(".object.")
    assert ("replace", path) == renamed
    assert ("fsync", tmp_path) == directory
    assert b"content" == path.read_bytes()


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "object"
    path.write_bytes(b"old")
    disk.write_durably(path, b"new")
    assert b"new" == path.read_bytes()
    assert [path] == list(tmp_path.iterdir())


@pytest.mark.parametrize("step", ["fdatasync", "writev", "replace"])
def test_what_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "object"
    path.write_bytes(b"old")

    def fail(*given: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="Input/output error"):
        disk.write_durably(path, b"new")
    assert b"old" == path.read_bytes()
    assert [path] == list(tmp_path.iterdir())


def test_each_parent_that_was_made_is_synced_into_its_own(
    tmp_path: Path, trail: list[tuple[str, Path]]
) -> None:
    disk.make_directory(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
    assert [
        ("fsync", tmp_path),
        ("fsync", tmp_path / "a"),
        ("fsync", tmp_path / "a" / "b"),
    ] == trail


def test_a_directory_that_is_there_is_left_alone(
    tmp_path: Path, trail: list[tuple[str, Path]]
) -> None:
    disk.make_directory(tmp_path)
    assert [] == trail


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_working_files_are_the_owners_and_their_parents_follow_the_umask(
    tmp_path: Path, mask: int
) -> None:
    before = os.umask(mask)
    try:
        disk.make_directory(tmp_path / "data" / "spool", mode=disk.PRIVATE_DIRECTORY)
        disk.write_durably(tmp_path / "data" / "token", b"secret")
        disk.make_private(tmp_path / "data" / "jobs")
    finally:
        os.umask(before)
    assert [0o777 & ~mask, 0o700, 0o600, 0o600] == [
        stat.S_IMODE((tmp_path / name).stat().st_mode)
        for name in ("data", "data/spool", "data/token", "data/jobs")
    ]


def test_a_file_that_others_could_read_becomes_private(tmp_path: Path) -> None:
    path = tmp_path / "catalog"
    path.write_bytes(b"content")
    path.chmod(0o644)
    disk.make_private(path)
    assert (0o600, b"content") == (stat.S_IMODE(path.stat().st_mode), path.read_bytes())


def test_a_file_in_the_way_of_a_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        disk.make_directory(tmp_path / "file")


def test_more_buffers_than_the_kernel_takes_at_once_are_written(tmp_path: Path) -> None:
    buffers = [b"%d," % number for number in range(5000)]
    with (tmp_path / "file").open("wb") as file:
        disk.write_all(file.fileno(), buffers)
    assert b"".join(buffers) == (tmp_path / "file").read_bytes()


@pytest.mark.parametrize("taken", [1, 2, 7, 13])
def test_short_writes_are_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    real_write = os.write

    def writev(fd: int, buffers: Sequence[bytes]) -> int:
        return real_write(fd, b"".join(buffers)[:taken])

    def write(fd: int, content: memoryview) -> int:
        return real_write(fd, content[:taken])

    monkeypatch.setattr(os, "writev", writev)
    monkeypatch.setattr(os, "write", write)
    buffers = [b"first", b"", b"second", b"third"]
    fd = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    try:
        disk.write_all(fd, buffers)
    finally:
        os.close(fd)
    assert b"firstsecondthird" == (tmp_path / "file").read_bytes()
