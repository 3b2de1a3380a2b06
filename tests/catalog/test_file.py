"""The file: lost, damaged, busy, in the way, killed, and used by several processes at once."""

import contextlib
import fcntl
import gc
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from receiver.catalog import Catalog, Synced, file
from receiver.catalog.filters import Filters
from receiver.config import Settings
from receiver.errors import StoreError
from receiver.instance import Receiver
from tests.catalog.place import SINCE, TODAY, CountingStore, put_index
from tests.tools.support.relay import Relay
from tests.tools.support.s3 import Bucket
from tests.tools.support.tools import cannot
from tests.tools.support.wait import wait_for

_SYNC = """
import itertools, sys, time
from pathlib import Path
from receiver.catalog import Catalog, syncing
from receiver.catalog.filters import Filters
from receiver.store import DirectoryStore

class Silent(DirectoryStore):
    reads = itertools.count(1)

    def get(self, key, **which):
        if next(self.reads) > int(sys.argv[4]):
            time.sleep(600)
        return super().get(key, **which)

syncing._BATCH_SEGMENTS = int(sys.argv[3])
catalog = Catalog(Path(sys.argv[1]), Silent(Path(sys.argv[2])))
catalog.sync()
print(sum(1 for _ in catalog.find(Filters())))
"""


def start_sync(
    path: Path, archive: Path, *, batch: int = 50, reads: int = 1_000_000
) -> "subprocess.Popen[str]":
    """Sync in a process of its own, in small steps, and print how much is found then.

    After ``reads`` reads the store stops answering.
    """
    return subprocess.Popen(
        [sys.executable, "-c", _SYNC, str(path), str(archive), str(batch), str(reads)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.integration
def test_each_archive_has_a_file_of_its_own(
    tmp_path: Path, bucket: Bucket, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {"catalog": tmp_path / "catalogs"}

    def synced(archive: str) -> set[str]:
        Receiver(Settings(**given, archive=archive)).catalog.sync()
        return {found.name for found in (tmp_path / "catalogs").glob("*.sqlite")}

    for name, value in bucket.environ.items():
        monkeypatch.setenv(name, value)
    first = synced(f"s3://{bucket.name}/some/where")
    assert 1 == len(first)
    assert first == synced(f"s3://{bucket.name}/some/where")
    # The same names at another endpoint.
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", relay.url)
    assert 2 == len(synced(f"s3://{bucket.name}/some/where"))
    for number, place in enumerate(("here", "there"), 3):
        (tmp_path / place).mkdir()
        monkeypatch.chdir(tmp_path / place)
        assert number == len(synced("archive"))


def damage(path: Path) -> None:
    """Spoil a database from its second page on."""
    size = path.stat().st_size
    with path.open("r+b") as spoiled:
        spoiled.seek(8192)
        spoiled.write(b"\xa5" * (size - 8192))


def test_a_catalog_that_is_lost_is_built_again(
    path: Path, catalog: Catalog, store: CountingStore
) -> None:
    put_index(store, ["a"])
    catalog.sync(since=SINCE)
    path.unlink()
    assert Synced(1, 1) == catalog.sync(since=SINCE)
    for found in path.parent.iterdir():
        found.unlink()
    assert set() == Catalog(path, store).archived("dataforseo", ["a"], kinds=["postback"])


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 100, bytes(8192)])
def test_a_file_that_is_not_a_catalog_is_built_again(
    path: Path, catalog: Catalog, store: CountingStore, content: bytes
) -> None:
    put_index(store, ["a"])
    path.parent.mkdir()
    path.write_bytes(content)
    assert Synced(1, 1) == catalog.sync(since=SINCE)
    assert {"a"} == catalog.archived("dataforseo", ["a"], kinds=["postback"])


def to_other_version(path: Path) -> None:
    """Let a database be one of another version."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA user_version = 99")


def test_a_catalog_of_another_version_is_built_again(path: Path, store: CountingStore) -> None:
    put_index(store, ["a"])
    Catalog(path, store).sync(since=SINCE)
    to_other_version(path)
    assert Synced(1, 1) == Catalog(path, store).sync(since=SINCE)


def test_a_plain_file_of_an_earlier_release_is_used_and_replaced(
    path: Path, store: CountingStore
) -> None:
    """Before, the path was the database itself."""
    put_index(store, ["a"])
    Catalog(path, store).sync()
    database = path.resolve()
    path.unlink()
    database.rename(path)
    put_index(store, ["b"])
    assert Synced(1, 1) == Catalog(path, store).sync()
    to_other_version(path)
    assert Synced(2, 2) == Catalog(path, store).sync()
    assert path.is_symlink()


def test_a_process_that_was_killed_while_it_replaced_one_does_no_harm(
    path: Path, store: CountingStore
) -> None:
    put_index(store, ["a"])
    Catalog(path, store).sync()
    path.resolve().unlink()
    assert path.is_symlink()
    path.with_name(f"{path.name}-left-link").symlink_to("nowhere")
    path.with_name(f"{path.name}-left").write_bytes(b"")
    assert Synced(1, 1) == Catalog(path, store).sync()
    assert 3 == len(list(path.parent.iterdir()))


def test_what_is_replaced_leaves_nothing_behind(path: Path, store: CountingStore) -> None:
    put_index(store, ["a"])
    for _ in range(3):
        Catalog(path, store).sync()
        to_other_version(path)
    Catalog(path, store).sync()
    names = {found.name for found in path.parent.iterdir()}
    assert {path.name, path.resolve().name, "here.lock"} == names


def test_damage_that_only_reading_finds_is_an_error_once(path: Path, store: CountingStore) -> None:
    tasks = [f"task-{number}" for number in range(5000)]
    put_index(store, tasks)
    Catalog(path, store).sync(since=SINCE)
    damage(path)
    again = Catalog(path, store)
    with pytest.raises(StoreError, match="catalog"):
        again.archived("dataforseo", tasks, kinds=["postback"])
    assert Synced(1, 5000) == again.sync(since=SINCE)
    assert set(tasks) == again.archived("dataforseo", tasks, kinds=["postback"])


def test_damage_that_a_sync_finds_is_repaired_by_it(path: Path, store: CountingStore) -> None:
    for number in range(20):
        put_index(store, [f"{number}-{position}" for position in range(500)])
    Catalog(path, store).sync(since=SINCE)
    damage(path)
    put_index(store, ["a"])
    again = Catalog(path, store)
    assert Synced(21, 10_001) == again.sync(since=SINCE)
    assert 10_001 == len(set(again.find(Filters())))


@pytest.mark.integration
def test_a_catalog_that_is_busy_is_not_taken_for_damaged(
    tmp_path: Path, path: Path, store: CountingStore
) -> None:
    """Several processes begin with no file, and all of them find everything."""
    for number in range(200):
        put_index(store, [f"{number}-{position}" for position in range(20)])
    processes = [start_sync(path, tmp_path / "archive") for _ in range(6)]
    said = [process.communicate(timeout=110) for process in processes]
    assert [("4000\n", "")] * 6 == said
    assert Synced(0, 0) == Catalog(path, store).sync(since=SINCE)


@pytest.mark.integration
def test_several_processes_that_find_damage_replace_it_once(
    tmp_path: Path, path: Path, store: CountingStore
) -> None:
    for number in range(100):
        put_index(store, [f"{number}-{position}" for position in range(20)])
    path.parent.mkdir()
    path.write_bytes(b"not a database at all" * 1000)
    processes = [start_sync(path, tmp_path / "archive") for _ in range(5)]
    said = [process.communicate(timeout=110) for process in processes]
    assert ["2000\n"] * 5 == [out for out, _ in said]
    # One of them replaced it; none took away what another had begun.
    warnings = "".join(err for _, err in said).splitlines()
    assert ["catalog is damaged or of another version, and built again"] == warnings
    assert Synced(0, 0) == Catalog(path, store).sync(since=SINCE)


def test_one_that_is_replaced_while_it_is_used_disturbs_no_search(
    path: Path, store: CountingStore
) -> None:
    """The user of the old one goes on, does no harm to the new one, and follows when it syncs."""
    put_index(store, [f"task-{number}" for number in range(5000)])
    user, other = Catalog(path, store), Catalog(path, store)
    user.sync()
    found = user.find(Filters())
    assert "task-0" == next(found).task_id
    old = path.resolve()
    to_other_version(path)
    put_index(store, ["a"])
    assert Synced(2, 5001) == other.sync()
    assert 4999 == len(list(found))
    assert not old.exists()
    assert Synced(0, 0) == user.sync()
    assert 5001 == len(list(user.find(Filters())))
    del user, found
    gc.collect()
    put_index(store, ["b"])
    assert Synced(1, 1) == other.sync()
    assert 5002 == len(list(Catalog(path, store).find(Filters())))


def test_one_that_is_replaced_by_another_process_stays(path: Path, store: CountingStore) -> None:
    """A process that finds damage in a database no longer in use leaves the new one alone."""
    tasks = [f"task-{number}" for number in range(5000)]
    put_index(store, tasks)
    late, quick = Catalog(path, store), Catalog(path, store)
    late.sync()
    assert late.has_key("dataforseo", "task-0:advanced")
    damage(path)
    with pytest.raises(StoreError, match="catalog"):
        quick.archived("dataforseo", tasks, kinds=["postback"])
    quick.sync()
    current = path.resolve()
    with pytest.raises(StoreError, match="catalog"):
        late.archived("dataforseo", tasks, kinds=["postback"])
    assert current == path.resolve()
    assert Synced(0, 0) == late.sync()
    assert set(tasks) == late.archived("dataforseo", tasks, kinds=["postback"])


@pytest.mark.parametrize("damaged", [False, True])
def test_opening_and_replacing_wait_for_their_turn(
    path: Path, store: CountingStore, damaged: bool
) -> None:
    put_index(store, ["a"])
    Catalog(path, store).sync()
    before = path.resolve()
    if damaged:
        to_other_version(path)
    with ThreadPoolExecutor(1) as pool, path.with_suffix(".lock").open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        syncing = pool.submit(Catalog(path, store).sync)
        with pytest.raises(TimeoutError):
            syncing.result(0.3)
        assert before == path.resolve()
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert Synced(damaged, damaged) == syncing.result(60)
    assert damaged == (before != path.resolve())


@pytest.mark.integration
def test_a_sync_that_is_killed_goes_on_where_it_was(
    tmp_path: Path, path: Path, store: CountingStore
) -> None:
    tasks = {f"{number}-{position}" for number in range(300) for position in range(200)}
    for number in range(300):
        put_index(store, [f"{number}-{position}" for position in range(200)])
    for _ in range(5):
        before = taken(path)
        process = start_sync(path, tmp_path / "archive", batch=5, reads=50)
        wait_for(lambda before=before: taken(path) > before, "some is taken in")  # type: ignore[misc]
        process.kill()
        process.communicate()
    assert 5 * 5 <= taken(path) < 300
    catalog = Catalog(path, store)
    left = 300 - taken(path)
    assert Synced(left, left * 200) == catalog.sync()
    found = [str(entry.task_id) for entry in catalog.find(Filters())]
    assert len(tasks) == len(found)
    assert tasks == set(found)


def taken(path: Path) -> int:
    """Return how many segments a catalog has."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            (count,) = database.execute("SELECT count(*) FROM segments").fetchone()
    except sqlite3.OperationalError:
        return 0  # not made yet
    assert isinstance(count, int)
    return count


# A file that cannot be used.


def in_the_way(tmp_path: Path) -> list[Path]:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "directory").mkdir()
    return [tmp_path / "file" / "here.sqlite", tmp_path / "directory", Path("/proc/here.sqlite")]


@pytest.mark.parametrize("which", range(3))
def test_without_a_file_everything_is_found_that_is_asked_for(
    tmp_path: Path, store: CountingStore, which: int, caplog: pytest.LogCaptureFixture
) -> None:
    old = put_index(store, ["old"], day=TODAY - timedelta(days=40))
    put_index(store, ["a", "b"])
    catalog = Catalog(in_the_way(tmp_path)[which], store)
    assert Synced(1, 2) == catalog.sync(since=SINCE)
    assert 0 == store.gets[old]
    assert {"a", "b"} == {entry.task_id for entry in catalog.find(Filters())}
    assert {"a"} == catalog.archived("dataforseo", ["a", "old"], kinds=["postback"])
    assert Synced(1, 1) == catalog.sync()
    [warning] = caplog.records
    assert "RECEIVER_CATALOG" in warning.__dict__["hint"]


def test_without_a_sync_a_file_that_cannot_be_made_is_an_error(
    tmp_path: Path, store: CountingStore
) -> None:
    """Nothing found would look like nothing there."""
    for path in in_the_way(tmp_path):
        with pytest.raises(StoreError, match="catalog"):
            list(Catalog(path, store).find(Filters()))


def test_a_file_that_somebody_never_lets_go_of_is_done_without(
    path: Path, catalog: Catalog, store: CountingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_index(store, ["a"])
    catalog.sync()
    put_index(store, ["b"])
    monkeypatch.setattr(file, "_BUSY_SECONDS", 0.1)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        without = Catalog(path, store)
        assert Synced(2, 2) == without.sync()
        assert 2 == len(list(without.find(Filters())))
    assert 1 == len(list(catalog.find(Filters())))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of half a megabyte, where this user may mount one."""
    root = tmp_path / "disk"
    root.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(root)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as exc:
        cannot(f"a small file system cannot be mounted here: {exc}")
    try:
        yield root
    finally:
        subprocess.run(["umount", str(root)], check=True)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.integration
def test_on_a_full_disk_everything_is_found(
    tmp_path: Path, disk: Path, store: CountingStore, full: bool
) -> None:
    """Full from the beginning, or by what is taken in; in a process that could die of it."""
    for number in range(20):
        put_index(store, [f"{number}-{position}" for position in range(500)])
    with contextlib.suppress(OSError), (disk / "ballast").open("ab", buffering=0) as ballast:
        while full:
            ballast.write(bytes(4096))
    said, warnings = start_sync(disk / "catalog.sqlite", tmp_path / "archive").communicate()
    assert "10000\n" == said
    assert 1 == len(warnings.splitlines())
    assert warnings.startswith("catalog cannot be used")
