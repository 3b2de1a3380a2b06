"""Verifying finds every kind of problem, and none in a sound archive."""

import gzip
import shutil
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from receiver import clock
from receiver.archive import COMPRESSIONS
from receiver.archive.verify import Verified, verify
from receiver.providers import PROVIDERS
from receiver.shipper import Shipper
from receiver.store import DirectoryStore, Listed
from tests.tools import hostile
from tests.tools.deliveries import AT_US, HOUR_US, head_of, segment_file

SINCE = datetime(2026, 11, 21, tzinfo=UTC)
UNTIL = datetime(2026, 11, 22, tzinfo=UTC)


class Archive:
    """An archive of one process's three segments, the last of which crosses an hour."""

    def __init__(self, root: Path, compression: str = "gzip") -> None:
        self.root = root / "archive"
        self.store = DirectoryStore(self.root)
        process = clock.new_id(AT_US)
        for number in range(3):
            records = [
                (head_of(at_us=AT_US + number * 400_000 + at), b'{"n":%d}' % at)
                for at in range(0, 300_000, 3_000)
            ]
            segment_file(root / "spool", records, process=process, number=number)
        Shipper(
            store=self.store,
            providers=PROVIDERS,
            compression=COMPRESSIONS[compression],
            inflated_bytes_max=1 << 20,
            concurrency=1,
        ).ship(root / "spool")

    def verify(self, *, quick: bool = False) -> Verified:
        return verify(self.store, since=SINCE, until=UNTIL, quick=quick)

    def found(self, *, quick: bool = False) -> set[str]:
        return {finding.what for finding in self.verify(quick=quick).findings}

    def objects(self, top: str) -> list[Path]:
        return sorted((self.root / top).rglob("*.jsonl.*"))

    def index(self, number: int) -> Path:
        return next(p for p in self.objects("index") if p.name.endswith(f"-{number}.jsonl.gz"))

    def change_index(self, number: int, change: Callable[[list[dict[str, Any]]], object]) -> None:
        """Write an index object anew that says something else."""
        path = self.index(number)
        entries = [orjson.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
        change(entries)
        path.write_bytes(gzip.compress(b"".join(orjson.dumps(e) + b"\n" for e in entries)))


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


@pytest.mark.parametrize("quick", [False, True])
def test_a_sound_archive_has_no_findings(archive: Archive, quick: bool) -> None:
    size = sum(path.stat().st_size for path in archive.objects("callbacks"))
    assert Verified(segments=3, lines=300, bytes=size, findings=()) == archive.verify(quick=quick)


@pytest.mark.parametrize(("number", "found"), [(0, {"gap", "orphan"}), (1, {"gap", "orphan"})])
def test_a_missing_segment_is_a_gap(archive: Archive, number: int, found: set[str]) -> None:
    archive.index(number).unlink()
    assert found == archive.found(quick=True)


@pytest.mark.parametrize("changes", hostile.ENTRIES.values(), ids=hostile.ENTRIES)
def test_a_hostile_entry_is_named(archive: Archive, changes: hostile.Row) -> None:
    path = archive.index(1)
    hostile.rewrite_index(path, lambda entries: entries[3].update(changes))
    findings = archive.verify(quick=True).findings
    where = str(path.relative_to(archive.root))
    assert ("damage", where) in {(finding.what, finding.where) for finding in findings}
    assert {"damage"} == {finding.what for finding in findings}


def test_an_index_that_is_filed_under_another_hour_is_damage(archive: Archive) -> None:
    path = archive.index(1)
    other = path.parent.with_name("hour=03")
    other.mkdir()
    (other / path.name).write_bytes(path.read_bytes())
    (finding,) = (each for each in archive.verify(quick=True).findings if each.what == "damage")
    assert "another hour" in finding.detail


def test_a_name_with_a_huge_number_is_a_gap_that_takes_no_memory(archive: Archive) -> None:
    path = archive.index(2)
    name = path.name.replace("-2.jsonl", f"-{10**17}.jsonl")
    path.with_name(name).write_bytes(gzip.compress(b""))
    (gap,) = (each for each in archive.verify(quick=True).findings if each.what == "gap")
    assert gap.detail == f"{10**17 - 3} segments are missing: 3, 4, 5, 6, 7, 8, 9, 10, 11, 12"


def test_a_segment_lost_without_a_trace_is_a_gap(archive: Archive) -> None:
    for path in (archive.index(1), *archive.objects("callbacks")):
        if "-1.jsonl" in path.name:
            path.unlink()
    [finding] = archive.verify(quick=True).findings
    assert ("gap", "1 segment is missing: 1") == (finding.what, finding.detail)


def test_objects_of_a_segment_whose_index_never_came_are_orphans(archive: Archive) -> None:
    archive.index(2).unlink()
    assert {"orphan"} == archive.found(quick=True)


def test_an_object_that_nobody_shipped_is_an_orphan(archive: Archive) -> None:
    [path, *_] = archive.objects("callbacks")
    other = path.with_name(f"{clock.new_id(AT_US)}-0.jsonl.gz")
    other.write_bytes(path.read_bytes())
    [finding] = archive.verify(quick=True).findings
    assert ("orphan", True) == (finding.what, finding.where.endswith(other.name))


def test_a_file_that_is_no_index_is_foreign(archive: Archive) -> None:
    archive.index(0).with_name("README.txt").write_text("hello")
    assert {"foreign"} == archive.found(quick=True)


def test_a_missing_object_is_missing(archive: Archive) -> None:
    archive.objects("callbacks")[0].unlink()
    assert {"missing"} == archive.found(quick=True)
    assert "missing" in archive.found()


def test_an_object_cut_short_is_damage_even_to_the_quick(archive: Archive) -> None:
    path = archive.objects("callbacks")[0]
    path.write_bytes(path.read_bytes()[:-1])
    assert {"damage"} == archive.found(quick=True)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_every_flipped_byte_of_an_object_is_found(tmp_path: Path, compression: str) -> None:
    archive = Archive(tmp_path, compression)
    path = archive.objects("callbacks")[0]
    whole = path.read_bytes()
    # Time, flags and system of a gzip head say nothing about the content (RFC 1952 §2.3).
    head = set(range(4, 10)) if compression == "gzip" else set()
    missed = []
    for at in range(0, len(whole), 11):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        if at not in head and not archive.found():
            missed.append(at)
    assert [] == missed


def _set(at: int, **columns: Any) -> Callable[[list[dict[str, Any]]], object]:
    return lambda entries: entries[at].update(columns)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (_set(3, line_offset=1), {"damage"}),
        (_set(3, line_offset=0), {"damage"}),
        (_set(3, line_bytes=10), {"damage"}),
        (_set(3, line_offset=1 << 30), {"damage"}),
        (_set(3, tag="another"), {"damage"}),
        (_set(3, received_at="2026-11-21T00:00:00.000000Z"), {"damage"}),
        (_set(3, body_bytes=1), {"damage"}),
        (_set(3, position=4), {"count"}),
        (_set(3, of=99), {"count"}),
        (_set(0, member_bytes=10), {"damage"}),
        (_set(0, object="callbacks/nowhere.jsonl.gz"), {"damage", "count"}),
        (lambda entries: entries.pop(), {"count"}),
        (lambda entries: entries.reverse(), {"count"}),
    ],
)
def test_an_index_that_says_what_is_not_so_is_found(
    archive: Archive, change: Callable[[list[dict[str, Any]]], object], found: set[str]
) -> None:
    archive.change_index(0, change)
    assert found <= archive.found()


def test_a_whole_second_line_where_one_should_be_is_found(archive: Archive) -> None:
    path = archive.objects("callbacks")[0]
    content = gzip.decompress(path.read_bytes())
    member = gzip.compress(content + content[: content.index(b"\n") + 1])
    path.write_bytes(member)
    archive.change_index(0, lambda es: [entry.update(member_bytes=len(member)) for entry in es])
    assert {"count"} == archive.found()


def test_a_damaged_index_is_damage(archive: Archive) -> None:
    path = archive.objects("index")[0]
    path.write_bytes(path.read_bytes()[:-9])
    # Its objects are no orphans: what they belong to is there.
    assert {"damage"} == archive.found(quick=True)


def midnight(root: Path) -> DirectoryStore:
    """An archive of one segment, of which two callbacks came before midnight and two after."""
    midnight_us = AT_US + 500_000 + 4 * HOUR_US
    records = [(head_of(at_us=midnight_us + at), b"{}") for at in (-2_000, -1_000, 0, 1_000)]
    process = clock.new_id(midnight_us - 3_000)
    segment_file(root / "spool", records, process=process)
    store = DirectoryStore(root / "archive")
    _ship(store, root / "spool")
    return store


def _ship(store: DirectoryStore, spool: Path) -> None:
    Shipper(
        store=store,
        providers=PROVIDERS,
        compression=COMPRESSIONS["gzip"],
        inflated_bytes_max=1 << 20,
        concurrency=1,
    ).ship(spool)


NEXT = datetime(2026, 11, 23, tzinfo=UTC)


def test_objects_of_the_next_day_belong_to_the_segment_that_named_them(tmp_path: Path) -> None:
    store = midnight(tmp_path)
    for until in (UNTIL, NEXT):
        done = verify(store, since=SINCE, until=until)
        assert (1, 4, ()) == (done.segments, done.lines, done.findings)


def test_objects_of_the_day_before_are_no_orphans(tmp_path: Path) -> None:
    done = verify(midnight(tmp_path), since=UNTIL, until=NEXT)
    assert (0, ()) == (done.segments, done.findings)


@pytest.mark.parametrize("quick", [False, True])
def test_objects_of_the_next_day_are_measured_too(tmp_path: Path, quick: bool) -> None:
    store = midnight(tmp_path)
    [path] = (tmp_path / "archive").glob("callbacks/date=2026-11-22/*/*/*/*.gz")
    path.write_bytes(path.read_bytes()[:-1])
    done = verify(store, since=SINCE, until=UNTIL, quick=quick)
    assert {"damage"} == {finding.what for finding in done.findings}
    path.unlink()
    done = verify(store, since=SINCE, until=UNTIL, quick=quick)
    assert {"missing"} == {finding.what for finding in done.findings}


@pytest.mark.parametrize("days", [-1, 1])
def test_a_clock_that_was_a_day_off_for_one_segment_makes_no_gap(tmp_path: Path, days: int) -> None:
    process = clock.new_id(AT_US)
    for number, at_us in enumerate((AT_US, AT_US + days * 24 * HOUR_US, AT_US)):
        records = [(head_of(at_us=at_us), b"{}")]
        segment_file(tmp_path / "spool", records, process=process, number=number)
    store = DirectoryStore(tmp_path / "archive")
    _ship(store, tmp_path / "spool")
    assert () == verify(store, since=SINCE, until=UNTIL).findings


@pytest.mark.parametrize("since", [SINCE, datetime.min.replace(tzinfo=UTC)])
def test_a_whole_day_lost_without_a_trace_is_a_gap(tmp_path: Path, since: datetime) -> None:
    process = clock.new_id(AT_US)
    for number, days in enumerate((0, 1)):
        records = [(head_of(at_us=AT_US + days * 24 * HOUR_US), b"{}")]
        segment_file(tmp_path / "spool", records, process=process, number=number)
    store = DirectoryStore(tmp_path / "archive")
    _ship(store, tmp_path / "spool")
    for folder in (tmp_path / "archive").glob("*/date=2026-11-21"):
        shutil.rmtree(folder)
    [finding] = verify(store, since=since, until=NEXT).findings
    assert ("gap", "1 segment is missing: 0") == (finding.what, finding.detail)


def test_only_the_days_that_there_are_cost_anything(archive: Archive) -> None:
    (archive.root / "index" / "date=soon").mkdir()
    asked: list[str] = []

    class Counting(DirectoryStore):
        def list(self, prefix: str, *, after: str = "") -> Iterator[Listed]:
            asked.append(prefix)
            return super().list(prefix, after=after)

    since, until = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    done = verify(Counting(archive.root), since=since, until=until)
    assert (3, 300, ()) == (done.segments, done.lines, done.findings)
    assert {"callbacks/date=2026-11-21/", "index/date=2026-11-21/"} == set(asked)


class StillShipping(DirectoryStore):
    """A store in which an index object appears as soon as the others were listed."""

    def __init__(self, root: Path, late: Path) -> None:
        super().__init__(root)
        self._late = late
        self._content = late.read_bytes()
        late.unlink()

    def list(self, prefix: str, *, after: str = "") -> Iterator[Listed]:
        yield from list(super().list(prefix, after=after))
        if prefix.startswith("index/"):
            self._late.write_bytes(self._content)


@pytest.mark.parametrize("number", [1, 2])
def test_what_is_shipped_meanwhile_is_no_problem(archive: Archive, number: int) -> None:
    store = StillShipping(archive.root, archive.index(number))
    done = verify(store, since=SINCE, until=UNTIL)
    assert (2, ()) == (done.segments, done.findings)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_long_line_is_checked_without_being_held(tmp_path: Path, compression: str) -> None:
    size = 40 << 20
    body = gzip.compress(b'{"x":"' + b"long " * (size // 5) + b'"}', 1)
    segment_file(tmp_path / "spool", [(head_of(), b"{}"), (head_of(), body)])
    store = DirectoryStore(tmp_path / "archive")
    Shipper(
        store=store,
        providers=PROVIDERS,
        compression=COMPRESSIONS[compression],
        inflated_bytes_max=size * 2,
        concurrency=1,
    ).ship(tmp_path / "spool")
    tracemalloc.start()
    try:
        done = verify(store, since=SINCE, until=UNTIL)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (1, 2, ()) == (done.segments, done.lines, done.findings)
    assert peak < size // 2
    [path] = (tmp_path / "archive").glob("callbacks/*/*/*/*/*")
    whole = path.read_bytes()
    for at in (len(whole) // 2, len(whole) - 2):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        done = verify(store, since=SINCE, until=UNTIL)
        assert {"damage"} == {finding.what for finding in done.findings}


def test_progress_is_reported(archive: Archive) -> None:
    reported: list[tuple[int, int]] = []
    done = verify(
        archive.store,
        since=SINCE,
        until=UNTIL,
        verified=lambda *progress: reported.append(progress),
    )
    assert [1, 2, 3] == [segments for segments, _ in reported]
    assert done.bytes == reported[-1][1]


class Silent(DirectoryStore):
    """A store that does not answer the second time that it is read, until it is released."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.released = threading.Event()
        self.asked = threading.Event()

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        if key.startswith("callbacks/") and not key.rpartition("/")[2].count("-0."):
            self.asked.set()
            assert self.released.wait(60)
        return super().get(key, start=start, length=length)


def test_an_interrupt_does_not_wait_for_a_silent_store(archive: Archive) -> None:
    store = Silent(archive.root)

    def give_up(segments: int, size: int) -> None:
        assert store.asked.wait(60)
        raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt):
            verify(store, since=SINCE, until=UNTIL, verified=give_up)
        assert not store.released.is_set()
    finally:
        store.released.set()
