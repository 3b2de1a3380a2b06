"""The catalog: a cache of the index that may be lost, late, or used by several at once."""

import gzip
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from receiver import clock
from receiver.catalog import Catalog, Synced
from receiver.errors import StoreError
from receiver.store import DirectoryStore

TODAY = datetime.now(UTC)
SINCE = TODAY - timedelta(days=31)


class CountingStore(DirectoryStore):
    """Counts what is read and listed."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.gets: Counter[str] = Counter()
        self._guard = threading.Lock()

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        with self._guard:
            self.gets[key] += 1
        return super().get(key, start=start, length=length)


@pytest.fixture
def store(tmp_path: Path) -> CountingStore:
    return CountingStore(tmp_path / "archive")


@pytest.fixture
def catalog(tmp_path: Path, store: CountingStore) -> Catalog:
    return Catalog(path_of(tmp_path), store)


def path_of(tmp_path: Path) -> Path:
    return tmp_path / "catalog" / "here.sqlite"


def index_line(
    segment: str, position: int, task_id: str | None, **fields: object
) -> dict[str, object]:
    return {
        "delivery_id": clock.new_id(),
        "provider": "dataforseo",
        "kind": "postback",
        "origin": "callback",
        "task_id": task_id,
        "tag": None,
        "key": f"{task_id}:advanced",
        "status": "20000",
        "received_at": clock.rfc3339(clock.now_us()),
        "body_bytes": 7,
        "invalid": None,
        "segment": segment,
        "position": position,
        "of": position + 1,
        "object": f"callbacks/date=…/{segment}.jsonl.gz",
        "member_offset": 0,
        "member_bytes": 10,
        "line_offset": 0,
        "line_bytes": 5,
        **fields,
    }


def put_index(
    store: DirectoryStore,
    tasks: Iterable[str | None],
    *,
    day: datetime = TODAY,
    number: int = 0,
    **fields: object,
) -> str:
    """Write an index object as the shipper does."""
    segment = f"{clock.new_id()}-{number}"
    lines = [index_line(segment, position, task, **fields) for position, task in enumerate(tasks)]
    key = f"index/date={day:%Y-%m-%d}/hour={day:%H}/{segment}.jsonl.gz"
    content = b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines)
    store.put(key, gzip.compress(content))
    return key


def test_what_is_archived_is_known_after_a_sync(catalog: Catalog, store: CountingStore) -> None:
    put_index(store, ["a", "b", None])
    assert Synced(segments=1, entries=3) == catalog.sync(since=SINCE)
    asked = ["a", "b", "c"]
    assert {"a", "b"} == catalog.archived("dataforseo", asked, kinds=["postback", "result"])
    assert set() == catalog.archived("dataforseo", asked, kinds=["pingback"])
    assert set() == catalog.archived("dataforapps", asked, kinds=["postback"])
    assert catalog.has_key("dataforseo", "a:advanced")
    assert not catalog.has_key("dataforseo", "c:advanced")
    assert not catalog.has_key("diffbot", "a:advanced")


def test_of_many_arrivals_the_first_counts(catalog: Catalog, store: CountingStore) -> None:
    moments = [clock.rfc3339(clock.now_us() - 1_000_000 * ago) for ago in (300, 200, 100, 0)]
    for moment, task in zip(moments, ["old", "a", "a", None], strict=True):
        put_index(store, [task], received_at=moment, kind="webhook", provider="outscraper")
    put_index(store, ["b"], kind="result", provider="outscraper")
    put_index(store, ["c"], kind="webhook", provider="diffbot")
    catalog.sync(since=SINCE)
    assert {"a": moments[1]} == catalog.arrivals("outscraper", kind="webhook", since=moments[1])


def test_only_what_is_new_is_read(catalog: Catalog, store: CountingStore) -> None:
    first = {put_index(store, [f"a{number}"]) for number in range(150)}
    assert Synced(150, 150) == catalog.sync(since=SINCE)
    assert dict.fromkeys(first, 1) == store.gets
    assert Synced(0, 0) == catalog.sync(since=SINCE)
    second = put_index(store, ["b"])
    assert Synced(1, 1) == catalog.sync(since=SINCE)
    assert dict.fromkeys(first | {second}, 1) == store.gets


def test_a_segment_that_came_days_late_is_found(catalog: Catalog, store: CountingStore) -> None:
    put_index(store, ["a"])
    catalog.sync(since=SINCE)
    for days in (1, 30):
        put_index(store, [f"late-{days}"], day=TODAY - timedelta(days=days))
    put_index(store, ["too-late"], day=TODAY - timedelta(days=33))
    put_index(store, ["early"], day=TODAY + timedelta(days=1))  # a machine whose clock is fast
    assert Synced(3, 3) == catalog.sync(since=SINCE)
    asked = ["late-1", "late-30", "too-late", "early"]
    assert {"late-1", "late-30", "early"} == catalog.archived(
        "dataforseo", asked, kinds=["postback"]
    )


def test_one_that_vanished_since_it_was_listed_is_passed_over(
    tmp_path: Path, store: CountingStore
) -> None:
    gone = put_index(store, ["a"])

    class Vanishing(CountingStore):
        def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
            self.delete(gone)
            return super().get(key, start=start, length=length)

    put_index(store, ["b"])
    catalog = Catalog(path_of(tmp_path), Vanishing(tmp_path / "archive"))
    assert Synced(2, 1) == catalog.sync(since=SINCE)
    assert {"b"} == catalog.archived("dataforseo", ["a", "b"], kinds=["postback"])


def test_a_catalog_that_is_lost_is_built_again(
    tmp_path: Path, catalog: Catalog, store: CountingStore
) -> None:
    put_index(store, ["a"])
    catalog.sync(since=SINCE)
    path_of(tmp_path).unlink()
    assert set() == catalog.archived("dataforseo", ["a"], kinds=["postback"])
    assert Synced(1, 1) == catalog.sync(since=SINCE)


@pytest.mark.parametrize("damage", [b"", b"not a database at all" * 100, bytes(8192)])
def test_a_file_that_is_no_catalog_is_built_again(
    tmp_path: Path, catalog: Catalog, store: CountingStore, damage: bytes
) -> None:
    put_index(store, ["a"])
    path_of(tmp_path).parent.mkdir()
    path_of(tmp_path).write_bytes(damage)
    assert Synced(1, 1) == catalog.sync(since=SINCE)
    assert {"a"} == catalog.archived("dataforseo", ["a"], kinds=["postback"])


def test_a_catalog_of_another_version_is_built_again(
    tmp_path: Path, catalog: Catalog, store: CountingStore
) -> None:
    put_index(store, ["a"])
    catalog.sync(since=SINCE)
    with path_of(tmp_path).open("r+b") as file:
        file.seek(60)  # user_version (sqlite.org/fileformat.html §1.3)
        file.write((99).to_bytes(4, "big"))
    assert Synced(1, 1) == catalog.sync(since=SINCE)


def test_damage_that_only_reading_finds_is_an_error_once(
    tmp_path: Path, catalog: Catalog, store: CountingStore
) -> None:
    tasks = [f"task-{number}" for number in range(5000)]
    put_index(store, tasks)
    catalog.sync(since=SINCE)
    path = path_of(tmp_path)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 8192))
    with pytest.raises(StoreError, match="catalog"):
        catalog.archived("dataforseo", tasks, kinds=["postback"])
    catalog.sync(since=SINCE)
    assert set(tasks) == catalog.archived("dataforseo", tasks, kinds=["postback"])


def test_a_place_where_no_catalog_can_be_made_is_an_error(
    tmp_path: Path, store: CountingStore
) -> None:
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "file" / "here.sqlite", tmp_path):
        with pytest.raises(StoreError):
            Catalog(path, store).sync(since=SINCE)


def test_a_catalog_that_is_busy_is_not_taken_for_damaged(
    tmp_path: Path, store: CountingStore
) -> None:
    """Several threads and processes begin with no file, and all of them read everything."""
    for number in range(200):
        put_index(store, [f"{number}-{position}" for position in range(20)])
    program = (
        "import sys; from datetime import datetime, UTC; from pathlib import Path;"
        "from receiver.catalog import Catalog; from receiver.store import DirectoryStore;"
        "c = Catalog(Path(sys.argv[1]), DirectoryStore(Path(sys.argv[2])));"
        "c.sync(since=datetime.fromisoformat(sys.argv[3]));"
        "f = c.archived('dataforseo', [f'{n}-19' for n in range(200)], kinds=['postback']);"
        "print(len(f))"
    )
    arguments = [str(path_of(tmp_path)), str(tmp_path / "archive"), SINCE.isoformat()]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    said = [process.communicate(timeout=60) for process in processes]
    assert [("200\n", "")] * 6 == said
    catalog = Catalog(path_of(tmp_path), store)
    assert Synced(0, 0) == catalog.sync(since=SINCE)
