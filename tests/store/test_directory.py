"""What only the directory has: files that any tool reads, durable and written atomically."""

import concurrent.futures
import os
import stat
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from receiver.errors import Conflict, NotFound, StoreRefused
from receiver.store import DirectoryStore


@pytest.fixture
def directory(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "archive")


def test_keys_are_paths_that_any_tool_reads(directory: DirectoryStore, tmp_path: Path) -> None:
    directory.put("callbacks/date=2026-11-21/a.jsonl.gz", b"content")
    path = tmp_path / "archive" / "callbacks" / "date=2026-11-21" / "a.jsonl.gz"
    assert b"content" == path.read_bytes()


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o027, 0o077])
def test_the_umask_says_who_may_read_an_archive(
    directory: DirectoryStore, tmp_path: Path, mask: int
) -> None:
    before = os.umask(mask)
    try:
        directory.put("callbacks/date=2026-11-21/a.jsonl.gz", b"content")
        directory.put_if("leases/a.json", b"content", etag=None)
    finally:
        os.umask(before)
    found = {tmp_path / "archive", *(tmp_path / "archive").rglob("*")}
    assert {0o777 & ~mask} == {_mode(path) for path in found if path.is_dir()}
    assert {0o666 & ~mask} == {_mode(path) for path in found if path.is_file()}


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_put_is_durable_before_it_returns(
    directory: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    for name in ("fsync", "fdatasync"):
        real = getattr(os, name)

        def sync(fd: int, real: Callable[[int], None] = real) -> None:
            synced.append(Path(f"/proc/self/fd/{fd}").readlink())
            real(fd)

        monkeypatch.setattr(os, name, sync)
    directory.put("a/b/c", b"content")
    root = tmp_path / "archive"
    *parents, temporary, last = synced
    assert [tmp_path, root, root / "a"] == parents
    assert (root / "a" / "b", ".tmp") == (temporary.parent, temporary.suffix)
    assert root / "a" / "b" == last


def test_unfinished_files_are_no_objects(directory: DirectoryStore, tmp_path: Path) -> None:
    directory.put("a/b", b"content")
    (tmp_path / "archive" / "a" / ".c.17-abcd.tmp").write_bytes(b"half of it")
    assert ["a/b"] == [listed.key for listed in directory.list("a/")]


@pytest.mark.parametrize("key", ["../a", "a/../b", "/a", "a//b", "a/.", "", "a\0b"])
def test_a_key_cannot_lead_out_of_the_directory(
    directory: DirectoryStore, tmp_path: Path, key: str
) -> None:
    (tmp_path / "a").write_bytes(b"not in the archive")
    with pytest.raises(StoreRefused):
        directory.put(key, b"content")
    with pytest.raises(StoreRefused):
        directory.delete(key)
    with pytest.raises(NotFound):
        directory.get(key)


def test_a_read_takes_memory_for_what_is_there(directory: DirectoryStore) -> None:
    directory.put("a", b"content")
    tracemalloc.start()
    try:
        assert b"tent" == directory.get("a", start=3, length=1 << 62)
        assert b"" == directory.get("a", start=9, length=1 << 30)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_file_in_the_way_is_refused_with_a_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = DirectoryStore(tmp_path / "file" / "archive")
    with pytest.raises(StoreRefused):
        store.put("a", b"content")
    (check,) = store.checks()
    assert (False, True) == (check.good, check.refused)
    assert "RECEIVER_ARCHIVE" in check.hint


def test_an_object_that_vanishes_while_it_is_listed_is_left_out(
    directory: DirectoryStore, tmp_path: Path
) -> None:
    for name in "abc":
        directory.put(f"leases/{name}", b"content")
    listing = directory.list("leases/")
    assert "leases/a" == next(listing).key
    (tmp_path / "archive" / "leases" / "b").unlink()
    assert ["leases/c"] == [listed.key for listed in listing]


# Many at once.  That S3 decides a condition atomically is its own promise; moto does not keep it.


def test_of_many_that_write_first_one_wins(directory: DirectoryStore) -> None:
    together = threading.Barrier(8)

    def write(number: int) -> bool:
        together.wait(30)
        try:
            directory.put_if("leases/sweep.json", b"%d" % number, etag=None)
        except Conflict:
            return False
        return True

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        won = list(pool.map(write, range(8)))
    assert 1 == sum(won)
    assert b"%d" % won.index(True) == directory.get("leases/sweep.json")


def test_no_conditional_write_is_lost(directory: DirectoryStore) -> None:
    directory.put("counter", b"0")

    def count(times: int) -> None:
        while times:
            content, etag = directory.get_with_etag("counter")
            try:
                directory.put_if("counter", b"%d" % (int(content) + 1), etag=etag)
            except Conflict:
                continue
            times -= 1

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(count, [5] * 4))
    assert b"20" == directory.get("counter")


def test_the_same_key_may_be_written_by_many_at_once(directory: DirectoryStore) -> None:
    content = bytes(range(256)) * 500
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: directory.put("deep/er/key", content), range(32)))
    assert content == directory.get("deep/er/key")
    assert ["deep/er/key"] == [listed.key for listed in directory.list("")]
