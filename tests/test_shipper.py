"""Shipping: everything that can be read reaches the archive once, whatever fails on the way."""

import concurrent.futures
import contextlib
import errno
import fcntl
import gzip
import os
import re
import shutil
import threading
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from receiver import clock, metrics, spool
from receiver.archive import COMPRESSIONS, index
from receiver.errors import StoreError, StoreRefused
from receiver.providers import PROVIDERS, Entrance, Provider, Recognised
from receiver.providers.envelope import Envelope
from receiver.shipper import Shipped, Shipper
from receiver.spool import Writer, segment
from receiver.store import Check, DirectoryStore, Listed
from tests.tools.deliveries import AT_US, HOUR_US, framed, head_of, segment_file

POSTBACK = gzip.compress(b'{"status_code":20000,"tasks":[{"id":"t","status_code":20000}]}')


class Faults(DirectoryStore):
    """A directory that can be made to fail, before or after a put took effect."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.puts = 0
        self.order: list[str] = []
        self.before: Callable[[int], None] = lambda number: None
        self.after: Callable[[int], None] = lambda number: None

    def put(self, key: str, content: bytes) -> None:
        self.puts += 1
        number = self.puts
        self.before(number)
        super().put(key, content)
        self.order.append(key)
        self.after(number)


class Stumbling:
    """An adapter with a bug."""

    name = "dataforseo"
    entrances: tuple[Entrance, ...] = ()

    def recognise(self, envelope: Envelope, body: bytes | None, *, whole: bool) -> Recognised:
        raise RuntimeError("a bug in an adapter")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def store(tmp_path: Path) -> Faults:
    return Faults(tmp_path / "archive")


def shipper(
    store: DirectoryStore,
    *,
    providers: Mapping[str, Provider] = PROVIDERS,
    concurrency: int = 1,
) -> Shipper:
    return Shipper(
        store=store,
        providers=providers,
        compression=COMPRESSIONS["gzip"],
        inflated_bytes_max=1 << 20,
        concurrency=concurrency,
    )


def id_of(number: int) -> str:
    """Return the delivery id of a record."""
    return f"01a1ffb1-b80c-7000-8000-{number:012x}"


def records(count: int, *, at_us: int = AT_US) -> list[tuple[bytes, bytes]]:
    """Return records of all sorts, over an hour's border and of two providers."""
    made = []
    for number in range(count):
        provider, kind = [("dataforseo", "postback"), ("diffbot", "notification")][number % 2]
        head = head_of(
            id_of(number),
            at_us=at_us + number * HOUR_US // 4,
            provider=provider,
            kind=kind,
        )
        made.append((head, [POSTBACK, b'{"name":"job"}', b"", b"\xff"][number % 4]))
    return made


def contents(root: Path) -> dict[str, bytes]:
    """Return all files as what they mean: one line can be compressed in several ways."""
    return {
        str(path.relative_to(root)): _meaning(path)
        for path in root.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def _meaning(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix != ".gz":
        return content
    return re.sub(rb'"member_(offset|bytes)":\d+', b"", gzip.decompress(content))


def lines(store: DirectoryStore, prefix: str = "callbacks/") -> list[dict[str, Any]]:
    return [
        orjson.loads(line)
        for listed in store.list(prefix)
        for line in gzip.decompress(store.get(listed.key)).splitlines()
    ]


def delivered(store: DirectoryStore) -> list[str]:
    return sorted(line["delivery_id"] for line in lines(store))


def test_a_segment_goes_into_the_archive_and_out_of_the_spool(root: Path, store: Faults) -> None:
    path = segment_file(root, records(6))
    shipped = shipper(store).ship(root)
    assert (1, 6, 0, 0) == (shipped.segments, shipped.records, shipped.quarantined, shipped.failed)
    assert sum(map(len, (store.get(key) for key in store.order))) == shipped.bytes
    assert [id_of(number) for number in range(6)] == delivered(store)
    assert not path.exists()
    assert [] == list(root.iterdir())


def test_the_index_is_put_last_and_names_every_line(root: Path, store: Faults) -> None:
    path = segment_file(root, records(6))
    still_there: list[bool] = []
    store.after = lambda number: still_there.append(path.exists())
    shipper(store).ship(root)
    assert all(still_there)
    assert ["callbacks"] * 4 + ["index"] == [key.partition("/")[0] for key in store.order]
    entries = lines(store, "index/")
    assert [id_of(number) for number in range(6)] == [e["delivery_id"] for e in entries]
    assert set(store.order[:-1]) == {entry["object"] for entry in entries}


def test_bodies_are_decoded_and_recognised(root: Path, store: Faults) -> None:
    segment_file(root, records(4))
    shipper(store).ship(root)
    found = {line["delivery_id"]: line for line in lines(store)}
    postback = found[id_of(0)]
    assert gzip.decompress(POSTBACK).decode() == postback["body"]
    assert ("t", "20000", None) == (postback["task_id"], postback["status"], postback["invalid"])
    assert "job" == found[id_of(1)]["task_id"]
    assert "empty" == found[id_of(2)]["invalid"]
    assert "/w==" == found[id_of(3)]["body_base64"]


def test_segments_go_oldest_first(root: Path, store: Faults) -> None:
    processes = [clock.new_id(AT_US + number) for number in range(3)]
    for process in reversed(processes):
        for number in (10, 9):
            segment_file(root, records(1), process=process, number=number)
    shipper(store).ship(root)
    assert [f"{process}-{number}" for process in processes for number in (9, 10)] == [
        Path(key).name.removesuffix(".jsonl.gz") for key in store.order if key.startswith("index/")
    ]


def test_what_a_living_writer_writes_is_left_alone(root: Path, store: Faults) -> None:
    writer = Writer(root)
    frame = segment.frame(writer.marker, head_of("sealed"), [])
    writer.write([frame], records=1)
    writer.seal()
    writer.write([segment.frame(writer.marker, head_of("open"), [])], records=1)
    assert 1 == shipper(store).ship(root).segments
    assert ["sealed"] == delivered(store)
    writer.close()
    assert 1 == shipper(store).ship(root).segments
    assert ["open", "sealed"] == delivered(store)
    assert [] == list(root.iterdir())


def test_the_empty_file_of_a_dead_writer_is_no_segment(root: Path, store: Faults) -> None:
    segment_file(root, [], suffix=segment.OPEN)
    assert Shipped() == shipper(store).ship(root)
    assert [] == store.order
    assert [] == list(root.iterdir())


def test_a_segment_that_lost_all_it_held_still_has_an_index(root: Path, store: Faults) -> None:
    process = clock.new_id(AT_US)
    segment_file(root, [], process=process, suffix=segment.TORN)
    assert 1 == shipper(store).ship(root).segments
    assert [f"index/date=2026-11-21/hour=19/{process}-0.jsonl.gz"] == store.order
    assert [] == lines(store, "index/")


def test_each_segment_is_reported(root: Path, store: Faults) -> None:
    for _ in range(3):
        segment_file(root, records(2), process=clock.new_id())
    reported: list[Shipped] = []
    total = shipper(store).ship(root, shipped=lambda _, done: reported.append(done))
    assert [2, 2, 2] == [shipped.records for shipped in reported]
    assert total == reported[0] + reported[1] + reported[2]


def test_a_stop_is_heard_between_segments(root: Path, store: Faults) -> None:
    for number in range(5):
        segment_file(root, records(1), number=number, process="p")
    shipped = shipper(store).ship(root, stop=lambda: store.puts >= 4)
    assert 2 == shipped.segments
    assert 3 == len(list(spool.files(root)))


# Damage and poison.


def test_damage_is_quarantined_byte_for_byte_and_counted(root: Path, store: Faults) -> None:
    path = segment_file(root, records(4))
    content = bytearray(path.read_bytes())
    first = len(framed("", records(1)))
    content[first + 5] ^= 0x10
    content[-1] ^= 0x10
    path.write_bytes(content)
    damages = [part for part in segment.read(path) if isinstance(part, segment.Damage)]
    counted = metrics.quarantined._value.get()
    shipped = shipper(store).ship(root)
    assert (2, 2) == (shipped.records, shipped.quarantined)
    assert counted + 2 == metrics.quarantined._value.get()
    assert [id_of(0), id_of(2)] == delivered(store)
    for damage in damages:
        key = f"quarantine/{path.stem}/{damage.offset}-{damage.end}.bin"
        assert bytes(content[damage.offset : damage.end]) == store.get(key)
        assert store.order.index(key) < len(store.order) - 1
    assert not path.exists()


@pytest.mark.parametrize("suffix", [segment.OPEN, segment.TORN])
def test_a_torn_tail_is_no_damage(root: Path, store: Faults, suffix: str) -> None:
    path = segment_file(root, records(3), suffix=suffix)
    os.truncate(path, path.stat().st_size - 1)
    shipped = shipper(store).ship(root)
    assert (2, 0) == (shipped.records, shipped.quarantined)
    assert [id_of(0), id_of(1)] == delivered(store)


HEADS = [b"", b"not json", b"5\n6", b"[]\n[]", b'["d",1,"p","k","o",null,"i"]', b"\xff\n\xff"]


@pytest.mark.parametrize("head", HEADS)
def test_a_record_whose_head_makes_no_sense_stops_nothing(
    root: Path, store: Faults, head: bytes
) -> None:
    first, last = records(2)
    path = segment_file(root, [first, (head, b"a body of somebody"), last])
    poison = path.read_bytes()[len(framed("", [first])) : -len(framed("", [last]))]
    shipped = shipper(store).ship(root)
    assert (2, 1, 0) == (shipped.records, shipped.quarantined, shipped.failed)
    assert [id_of(0), id_of(1)] == delivered(store)
    (kept,) = store.list("quarantine/")
    assert poison == store.get(kept.key)


def test_a_body_on_which_an_adapter_fails_is_archived_all_the_same(
    root: Path, store: Faults
) -> None:
    segment_file(root, records(2))
    providers: dict[str, Provider] = {**PROVIDERS, "dataforseo": Stumbling()}
    shipped = shipper(store, providers=providers).ship(root)
    assert (2, 0) == (shipped.records, shipped.failed)
    found = {line["delivery_id"]: line for line in lines(store)}
    assert "not_recognised" == found[id_of(0)]["invalid"]
    assert gzip.decompress(POSTBACK).decode() == found[id_of(0)]["body"]
    assert found[id_of(1)]["invalid"] != "not_recognised"


def test_a_provider_that_nobody_knows_any_more_is_archived_all_the_same(
    root: Path, store: Faults
) -> None:
    segment_file(root, [(head_of("d", provider="retired", kind="webhook"), b"{}")])
    assert 1 == shipper(store).ship(root).records
    (line,) = lines(store)
    assert ("retired", "not_recognised", "{}") == (line["provider"], line["invalid"], line["body"])


def test_what_is_invalid_is_counted_once_however_often_shipping_is_tried(
    root: Path, store: Faults
) -> None:
    segment_file(root, [(head_of("d"), b"no json")])
    counter = metrics.invalid.labels("dataforseo", "not_json")._value
    before = counter.get()
    store.before = fail_when(lambda number: number < 4, StoreError)
    for _ in range(3):
        with pytest.raises(StoreError):
            shipper(store).ship(root)
    assert before == counter.get()
    shipper(store).ship(root)
    assert before + 1 == counter.get()


def test_a_bomb_is_archived_as_it_came(root: Path, store: Faults) -> None:
    bomb = gzip.compress(bytes(2 << 20))
    segment_file(root, [(head_of("d"), bomb)])
    shipper(store).ship(root)
    (line,) = lines(store)
    assert ("inflates_too_far", len(bomb)) == (line["invalid"], line["body_bytes"])


@pytest.mark.parametrize(
    ("provider", "kind", "text"),
    [
        ("dataforseo", "postback", b'{"status_code":20000,"tasks":[{"id":"%b"}]}'),
        ("dataforseo", "postback", b'{"status_code":"%b","tasks":[{"id":"1"}]}'),
        ("dataforseo", "postback", b'{"status_code":1,"tasks":[{"id":"1","data":{"tag":"%b"}}]}'),
        ("diffbot", "notification", b'{"name":"%b"}'),
        ("outscraper", "webhook", b'{"id":"%b","status":"Success"}'),
    ],
)
def test_huge_ids_take_no_memory_and_stop_nothing(
    root: Path, store: Faults, provider: str, kind: str, text: bytes
) -> None:
    huge = gzip.compress(text % (b"a" * (8_300_000)), 6)
    assert len(huge) < 9000
    target = f"/{provider}/{kind}/***"
    attack = [(head_of(provider=provider, kind=kind, target=target), huge) for _ in range(40)]
    segment_file(root, [*attack, (head_of(id_of(1)), POSTBACK)])
    tracemalloc.start()
    try:
        done = Shipper(
            store=store,
            providers=PROVIDERS,
            compression=COMPRESSIONS["gzip"],
            inflated_bytes_max=64 << 20,
            concurrency=1,
        ).ship(root)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (41, 0) == (done.records, done.failed)
    assert peak < 160 << 20
    (listed,) = store.list("index/")
    found = index.entries(listed.key, store.get(listed.key))
    assert 41 == len(found)
    assert id_of(1) == found[-1].delivery_id
    assert listed.bytes < 10_000
    innocent = next(line for line in lines(store) if line["delivery_id"] == id_of(1))
    assert innocent["invalid"] is None


def test_a_segment_that_cannot_be_read_does_not_stop_the_others(root: Path, store: Faults) -> None:
    readable = segment_file(root, records(1), process="q")
    # Reading a directory fails with EISDIR, as a bad sector fails with EIO.
    (root / "p").mkdir()
    (root / "p" / "p-0.seg").mkdir()
    shipped = shipper(store).ship(root)
    assert (1, 1) == (shipped.segments, shipped.failed)
    assert [id_of(0)] == delivered(store)
    assert (root / "p" / "p-0.seg").exists()
    assert not readable.exists()


def test_a_symbolic_link_is_logged_once_and_never_followed(
    tmp_path: Path, root: Path, store: Faults, caplog: pytest.LogCaptureFixture
) -> None:
    path = segment_file(root, records(1), process="q")
    secret = tmp_path / "secret"
    secret.write_text("a private key")
    link = path.parent / "q-1.seg"
    link.symlink_to(secret)
    one = shipper(store)
    for _ in range(3):
        assert 0 == one.ship(root).failed
    assert [id_of(0)] == delivered(store)
    assert [] == list(store.list("quarantine/"))
    assert link.is_symlink()
    (record,) = [one for one in caplog.records if "symbolic link" in one.getMessage()]
    assert str(link) == vars(record)["path"]
    # Nor where it takes a segment's place after the spool was listed.
    with pytest.raises(OSError, match="symbolic links"):
        one.ship_one(link)
    assert "a private key" == secret.read_text()


def test_what_only_could_not_be_removed_is_not_put_again(
    root: Path, store: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = segment_file(root, records(1))
    unlink = Path.unlink

    def refuse(self: Path, missing_ok: bool = False) -> None:
        if self == path:
            raise OSError(errno.EROFS, "read-only file system")
        unlink(self, missing_ok)

    ships = shipper(store)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        assert 1 == ships.ship(root).failed
    monkeypatch.setattr(store, "put", lambda key, content: pytest.fail(f"{key} is put again"))
    assert (1, 0) == (ships.ship(root).segments, ships.ship(root).failed)
    assert not path.exists()


# A store that fails.


def fail_when(matches: Callable[[int], bool], kind: type[BaseException]) -> Callable[[int], None]:
    def fail(number: int) -> None:
        if matches(number):
            raise kind("no answer")

    return fail


@pytest.mark.parametrize("kind", [StoreError, StoreRefused])
def test_a_pass_ends_with_the_error_of_a_store_that_keeps_failing(
    root: Path, store: Faults, kind: type[StoreError]
) -> None:
    for number in range(6):
        segment_file(root, records(1), process="p", number=number)
    store.before = fail_when(lambda number: True, kind)
    with pytest.raises(kind):
        shipper(store).ship(root)
    assert 2 == store.puts
    assert 6 == len(list(spool.files(root)))


def test_what_was_shipped_before_the_store_failed_stays_shipped(root: Path, store: Faults) -> None:
    for number in range(5):
        segment_file(root, records(1), process="p", number=number)
    store.before = fail_when(lambda number: number > 4, StoreError)
    with pytest.raises(StoreError):
        shipper(store).ship(root)
    assert 3 == len(list(spool.files(root)))
    store.before = lambda number: None
    assert 3 == shipper(store).ship(root).segments


def test_one_failure_among_successes_does_not_end_a_pass(root: Path, store: Faults) -> None:
    for number in range(5):
        segment_file(root, records(1), process="p", number=number)
    store.before = fail_when(lambda number: number == 3, StoreError)
    shipped = shipper(store).ship(root)
    assert (4, 1) == (shipped.segments, shipped.failed)
    assert 1 == shipper(store).ship(root).segments


class Crash(BaseException):
    """The end of a process, as far as a test in its own process can bring it about."""


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("kind", [Crash, StoreError])
def test_shipping_again_after_an_end_at_any_step_gives_the_same_archive(
    tmp_path: Path, side: str, kind: type[BaseException]
) -> None:
    pristine = tmp_path / "pristine"
    path = segment_file(pristine, records(6))
    content = bytearray(path.read_bytes())
    content[len(framed("", records(2))) + 40] ^= 1
    path.write_bytes(content)
    expected = Faults(tmp_path / "expected")
    shutil.copytree(pristine, tmp_path / "undisturbed")
    shipper(expected).ship(tmp_path / "undisturbed")
    assert expected.puts > 4
    for step in range(1, expected.puts + 1):
        root = tmp_path / f"spool-{step}"
        shutil.copytree(pristine, root)
        store = Faults(tmp_path / f"archive-{step}")
        setattr(store, side, fail_when(lambda number, step=step: number == step, kind))  # type: ignore[misc]
        with pytest.raises(kind):
            shipper(store).ship(root)
        assert contents(pristine) == contents(root)
        assert 1 == shipper(store).ship(root).segments
        assert contents(tmp_path / "expected") == contents(tmp_path / f"archive-{step}")
        assert [] == list(spool.files(root))


def test_a_segment_that_comes_back_after_a_power_cut_is_shipped_to_the_same_keys(
    tmp_path: Path, root: Path, store: Faults
) -> None:
    # The unlink is not synced, so it can be undone.
    segment_file(root, records(6))
    shutil.copytree(root, tmp_path / "before")
    shipper(store).ship(root)
    expected = contents(tmp_path / "archive")
    shutil.copytree(tmp_path / "before", root, dirs_exist_ok=True)
    shipper(store).ship(root)
    assert expected == contents(tmp_path / "archive")


def test_two_shippers_of_one_spool_do_no_harm(tmp_path: Path, root: Path, store: Faults) -> None:
    for process in range(6):
        for number in range(5):
            segment_file(root, records(6), process=f"p{process}", number=number)
    shutil.copytree(root, tmp_path / "copy")
    expected = Faults(tmp_path / "expected")
    shipper(expected).ship(tmp_path / "copy")
    together = threading.Barrier(3)

    def ship(_: int) -> Shipped:
        one = shipper(store, concurrency=3)
        together.wait(30)
        return one.ship(root)

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        shipped = list(pool.map(ship, range(3)))
    assert 30 == sum(one.segments for one in shipped)
    assert 180 == sum(one.records for one in shipped)
    assert contents(tmp_path / "expected") == contents(tmp_path / "archive")
    assert [] == list(spool.files(root))


def test_a_segment_that_another_shipper_has_in_hand_is_left_to_it(
    root: Path, store: Faults
) -> None:
    segment_file(root, records(1))
    seen: list[Shipped] = []

    def ship_meanwhile(number: int) -> None:
        store.before = lambda number: None
        seen.append(shipper(store).ship(root))

    store.before = ship_meanwhile
    assert 1 == shipper(store).ship(root).segments
    assert [Shipped()] == seen


def test_a_segment_that_another_shipper_had_a_moment_ago_is_not_shipped_again(
    root: Path, store: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment_file(root, records(2))
    real = fcntl.flock
    others: list[Shipped] = []

    def flock(fd: int, operation: int) -> None:
        # Between the opening of the file and its lock, another one ships and removes it.
        if not others and Path(f"/proc/self/fd/{fd}").readlink().suffix == segment.SEALED:
            monkeypatch.setattr(fcntl, "flock", real)
            others.append(shipper(store).ship(root))
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    assert Shipped() == shipper(store).ship(root)
    assert [2] == [other.records for other in others]


def test_a_segment_that_cannot_be_removed_is_put_and_counted_once(
    root: Path, store: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = segment_file(root, records(2))
    counter = metrics.shipped_records._value
    before = counter.get()

    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    one = shipper(store)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        assert Shipped(failed=1) == one.ship(root)
        assert Shipped(failed=1) == one.ship(root)
    puts = store.puts
    assert Shipped(segments=1) == one.ship(root)
    assert not path.exists()
    assert puts == store.puts
    assert before + 2 == counter.get()
    assert [id_of(0), id_of(1)] == delivered(store)


def test_a_full_archive_disk_is_a_store_error(
    root: Path, store: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = segment_file(root, records(1))

    def full(fd: int, buffers: list[bytes]) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", full)
        with pytest.raises(StoreError, match="No space left on device"):
            shipper(store).ship(root)
    assert path.exists()
    assert 1 == shipper(store).ship(root).segments


def test_a_store_is_asked_for_no_more_than_it_promises(root: Path, tmp_path: Path) -> None:
    """Shipping needs `put` alone: neither the right to read nor to delete."""

    class PutOnly:
        url = identity = "memory"
        objects: dict[str, bytes]

        def __init__(self) -> None:
            self.objects = {}

        def put(self, key: str, content: bytes) -> None:
            self.objects[key] = content

        def put_if(self, key: str, content: bytes, *, etag: str | None) -> str:
            raise AssertionError

        def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
            raise AssertionError

        def get_with_etag(self, key: str) -> tuple[bytes, str]:
            raise AssertionError

        def list(self, prefix: str, *, after: str = "") -> Iterator[Listed]:
            raise AssertionError

        def folders(self, prefix: str) -> Iterator[str]:
            raise AssertionError

        def delete(self, key: str) -> None:
            raise AssertionError

        def checks(self) -> Iterator[Check]:
            raise AssertionError

    segment_file(root, records(2))
    store = PutOnly()
    shipped = Shipper(
        store=store,
        providers=PROVIDERS,
        compression=COMPRESSIONS["zstd"],
        inflated_bytes_max=1 << 20,
        concurrency=2,
    ).ship(root)
    assert 2 == shipped.records
    assert 3 == len(store.objects)


# Copies of a spool.


def held(store: DirectoryStore) -> list[str]:
    return [line["delivery_id"] for line in lines(store)]


def copied(root: Path, content: list[tuple[bytes, bytes]], *, first: int) -> tuple[Path, Path]:
    """Return a spool and a copy of it from when it held only its first records."""
    path = segment_file(root, content)
    size = len(framed(path.stem.rpartition("-")[0], content[:first]))
    copy = root.parent / "copy" / path.parent.name / f"{path.stem}.open"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(path.read_bytes()[:size])
    return path, copy


def test_a_copy_of_a_spool_that_went_on_takes_nothing_away(root: Path, store: Faults) -> None:
    _, copy = copied(root, records(8), first=3)
    shipper(store).ship(root)
    before = contents(root.parent / "archive")
    assert 8 == len(held(store))
    assert 1 == shipper(store).ship(root.parent / "copy").segments
    assert before == contents(root.parent / "archive")
    assert not copy.exists()


def test_a_copy_that_is_shipped_first_is_completed_by_its_original(
    root: Path, store: Faults
) -> None:
    copied(root, records(8), first=3)
    shipper(store).ship(root.parent / "copy")
    assert 3 == len(held(store))
    shipper(store).ship(root)
    assert sorted(id_of(number) for number in range(8)) == sorted(held(store))


def test_a_copy_that_went_on_by_itself_is_put_into_quarantine(root: Path, store: Faults) -> None:
    path, copy = copied(root, records(8), first=3)
    process = path.stem.rpartition("-")[0]
    strange = framed(process, [(head_of(id_of(99)), b"{}")])
    copy.write_bytes(copy.read_bytes() + strange)
    content = copy.read_bytes()
    shipper(store).ship(root)
    done = shipper(store).ship(root.parent / "copy")
    assert (1, 1) == (done.segments, done.quarantined)
    assert 8 == len(held(store))
    (key,) = (listed.key for listed in store.list("quarantine/"))
    assert content == store.get(key)
    assert not copy.exists()


def test_a_damaged_copy_of_what_is_archived_takes_nothing_away(root: Path, store: Faults) -> None:
    path = segment_file(root, records(4))
    copy = root.parent / "copy" / path.parent.name / path.name
    copy.parent.mkdir(parents=True)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    copy.write_bytes(content)
    shipper(store).ship(root)
    before = lines(store)
    done = shipper(store).ship(root.parent / "copy")
    assert (1, 1) == (done.segments, done.quarantined)
    assert before == lines(store)


def test_segments_that_are_refused_again_and_again_keep_no_others_waiting(root: Path) -> None:
    refused = [segment_file(root, records(1)).stem for _ in range(6)]
    shipped = [segment_file(root, records(1)).stem for _ in range(10)]

    class Choosy(DirectoryStore):
        """Refuses the objects of some segments for good."""

        def put(self, key: str, content: bytes) -> None:
            if any(name in key for name in refused):
                raise StoreRefused("this key alone")
            super().put(key, content)

    store = Choosy(root.parent / "archive")
    it = shipper(store)
    for _ in range(20):
        with contextlib.suppress(StoreRefused):
            it.ship(root)
    index = {listed.key.rpartition("/")[2].partition(".")[0] for listed in store.list("index/")}
    assert set(shipped) == index
    assert set(refused) == {found.name for found in spool.files(root)}
