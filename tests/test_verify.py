"""Verifying finds every kind of harm, and nothing where there is none."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from receiver import clock
from receiver.archive import COMPRESSIONS
from receiver.providers import PROVIDERS
from receiver.shipper import Shipper
from receiver.store import DirectoryStore
from receiver.verify import Verified, verify
from tests.deliveries import AT_US, HOUR_US, head_of, segment_file

SINCE = datetime(2026, 11, 21, tzinfo=UTC)
UNTIL = datetime(2026, 11, 22, tzinfo=UTC)


class Archive:
    """An archive of one process's three segments, the last of which crosses an hour."""

    def __init__(self, root: Path) -> None:
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
            compression=COMPRESSIONS["gzip"],
            inflated_bytes_max=1 << 20,
            concurrency=1,
        ).ship(root / "spool")

    def verify(self, *, quick: bool = False) -> Verified:
        return verify(self.store, since=SINCE, until=UNTIL, quick=quick)

    def found(self, *, quick: bool = False) -> set[str]:
        return {finding.what for finding in self.verify(quick=quick).findings}

    def objects(self, top: str) -> list[Path]:
        return sorted((self.root / top).rglob("*.gz"))


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


@pytest.mark.parametrize("quick", [False, True])
def test_a_whole_archive_has_nothing_amiss(archive: Archive, quick: bool) -> None:
    size = sum(path.stat().st_size for path in archive.objects("callbacks"))
    assert Verified(segments=3, lines=300, bytes=size, findings=()) == archive.verify(quick=quick)


def test_a_missing_segment_is_a_gap(archive: Archive) -> None:
    middle = next(path for path in archive.objects("index") if path.name.endswith("-1.jsonl.gz"))
    middle.unlink()
    assert {"gap", "orphan"} == archive.found(quick=True)


def test_a_missing_object_is_missing(archive: Archive) -> None:
    archive.objects("callbacks")[0].unlink()
    assert {"missing"} == archive.found(quick=True)
    assert "missing" in archive.found()


def test_an_object_cut_short_is_damage_even_to_the_quick(archive: Archive) -> None:
    path = archive.objects("callbacks")[0]
    path.write_bytes(path.read_bytes()[:-1])
    assert {"damage"} == archive.found(quick=True)


def test_every_flipped_byte_of_an_object_is_found(archive: Archive) -> None:
    path = archive.objects("callbacks")[0]
    whole = path.read_bytes()
    # Time, flags and system of a gzip head say nothing about the content (RFC 1952 §2.3).
    head = set(range(4, 10))
    missed = []
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        if at not in head and not archive.found():
            missed.append(at)
    assert [] == missed


def test_a_damaged_index_is_damage(archive: Archive) -> None:
    path = archive.objects("index")[0]
    path.write_bytes(path.read_bytes()[:-9])
    assert "damage" in archive.found(quick=True)


def test_objects_of_the_next_day_belong_to_the_segment_that_named_them(tmp_path: Path) -> None:
    midnight_us = AT_US + 500_000 + 4 * HOUR_US
    records = [(head_of(at_us=midnight_us + at), b"{}") for at in (-2_000, -1_000, 0, 1_000)]
    segment_file(tmp_path / "spool", records)
    store = DirectoryStore(tmp_path / "archive")
    Shipper(
        store=store,
        providers=PROVIDERS,
        compression=COMPRESSIONS["gzip"],
        inflated_bytes_max=1 << 20,
        concurrency=1,
    ).ship(tmp_path / "spool")
    one_day = verify(store, since=SINCE, until=UNTIL)
    assert (1, 4, ()) == (one_day.segments, one_day.lines, one_day.findings)
    two_days = verify(store, since=SINCE, until=datetime(2026, 11, 23, tzinfo=UTC))
    assert (1, 4, ()) == (two_days.segments, two_days.lines, two_days.findings)
