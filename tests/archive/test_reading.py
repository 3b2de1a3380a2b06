"""Reading the archive back: each line by its entry, with few requests; damage is reported."""

import base64
import itertools
import tracemalloc
from pathlib import Path

import msgspec
import orjson
import pytest

from receiver.archive import checking, long_lines, members, reading
from receiver.archive.schema import INDEXED, Entry
from receiver.errors import Damaged, NotFound
from receiver.store import DirectoryStore
from tests.tools import hostile
from tests.tools.mixed import MixedArchive


@pytest.fixture(scope="module", params=["gzip", "zstd"])
def archive(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> MixedArchive:
    return MixedArchive(tmp_path_factory.mktemp("place"), request.param)


class Counting(DirectoryStore):
    """A directory that keeps what was read of it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads: list[tuple[str, int, int | None]] = []

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        self.reads.append((key, start, length))
        return super().get(key, start=start, length=length)


def test_every_line_is_read_by_its_entry(archive: MixedArchive) -> None:
    assert 60 == len(archive.entries)
    for order in (archive.entries, archive.as_stored, archive.entries[::-1]):
        for entry, line in zip(order, archive.lines(order), strict=True):
            assert {name: getattr(entry, name) for name in INDEXED} == {
                name: line[name] for name in INDEXED
            }


def test_lines_that_are_close_together_share_requests(archive: MixedArchive) -> None:
    store = Counting(archive.root)
    read = list(reading.pieces(store, archive.as_stored, lost=never_lost))
    assert 60 == len(read)
    objects = [entry.object for entry in archive.as_stored]
    assert list(dict.fromkeys(objects)) == [key for key, *_ in store.reads]


def test_a_request_reads_no_more_than_a_span(
    archive: MixedArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Counting(archive.root)
    expected = list(reading.pieces(store, archive.as_stored, lost=never_lost))
    size = max(entry.member_bytes for entry in archive.entries)
    monkeypatch.setattr(reading, "SPAN_BYTES", size)
    store.reads.clear()
    assert expected == list(reading.pieces(store, archive.as_stored, lost=never_lost))
    assert all(length is not None and length <= size for *_, length in store.reads)
    assert {(e.object, e.member_offset) for e in archive.entries} >= {
        (key, start) for key, start, _ in store.reads
    }


def never_lost(entry: Entry, exc: Exception) -> None:
    raise exc


def test_a_callback_is_read_by_one_range(archive: MixedArchive) -> None:
    rows = archive.lines(archive.entries)
    for entry, row in zip(archive.entries, rows, strict=True):
        store = Counting(archive.root)
        callback = reading.callback(store, entry)
        body = b"".join(callback.body())
        assert body == b"".join(callback.body())
        assert [(entry.object, entry.member_offset, entry.member_bytes)] == store.reads
        columns = dict(callback.columns)
        if callback.is_text:
            columns["body"] = body.decode()
        else:
            columns["body_base64"] = base64.b64encode(body).decode()
        assert list(row.items()) == list(columns.items())
        shown = {name: row[name] for name in INDEXED}
        assert {**shown, "segment": entry.segment, "where": "archive"} == callback.row()


def test_an_entry_that_points_at_another_line_is_damage(archive: MixedArchive) -> None:
    one, other = itertools.islice((e for e in archive.entries if not e.invalid), 2)
    names = ("object", "member_offset", "member_bytes", "line_offset", "line_bytes")
    wrong = msgspec.structs.replace(one, **{name: getattr(other, name) for name in names})
    with pytest.raises(Damaged):
        reading.callback(archive.store, wrong)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"line_bytes": 1 << 30}, Damaged),
        ({"line_offset": 1 << 30}, Damaged),
        ({"member_bytes": 9}, Damaged),
        ({"object": "callbacks/no.jsonl.gz"}, NotFound),
        ({"object": "callbacks/no.txt"}, NotFound),
    ],
)
def test_an_entry_that_points_nowhere_is_lost(
    archive: MixedArchive, changes: dict[str, object], error: type[Exception]
) -> None:
    wrong = msgspec.structs.replace(archive.entries[0], **changes)
    with pytest.raises(error):
        reading.callback(archive.store, wrong)
    with pytest.raises(error):
        list(reading.pieces(archive.store, [wrong], lost=never_lost))


def lost_of(store: DirectoryStore, entries: list[Entry]) -> tuple[list[str], list[str]]:
    """Return the ids of the lines that were read, and of those that were not."""
    lost: list[str] = []
    pieces = reading.pieces(store, entries, lost=lambda entry, exc: lost.append(entry.delivery_id))
    lines = b"".join(pieces).splitlines()
    return [orjson.loads(line)["delivery_id"] for line in lines], lost


def test_long_lines_are_read_in_pieces(
    archive: MixedArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = list(reading.pieces(archive.store, archive.as_stored, lost=never_lost))
    monkeypatch.setattr(long_lines, "LONG_BYTES", 20_000)
    monkeypatch.setattr(members, "STEP_BYTES", 10_000)
    long = list(reading.pieces(archive.store, archive.as_stored, lost=never_lost))
    assert len(short) < len(long)
    assert b"".join(short) == b"".join(long)


@pytest.mark.parametrize("long_bytes", [long_lines.LONG_BYTES, 1000])
def test_lost_lines_are_reported_and_the_others_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long_bytes: int
) -> None:
    monkeypatch.setattr(long_lines, "LONG_BYTES", long_bytes)
    archive = MixedArchive(tmp_path)
    entries = archive.as_stored
    gone, last = entries[0].object, entries[-1].object
    # The first member of an object that has more.
    damaged = next(entry for entry in entries if entry.object == last)
    assert damaged.member_offset < entries[-1].member_offset
    (archive.root / gone).unlink()
    path = archive.root / damaged.object
    content = bytearray(path.read_bytes())
    content[damaged.member_offset + damaged.member_bytes // 2] ^= 0xFF
    path.write_bytes(content)
    expected_lost = [
        entry.delivery_id
        for entry in entries
        if entry.object == gone
        or (entry.object, entry.member_offset) == (damaged.object, damaged.member_offset)
    ]
    read, lost = lost_of(archive.store, entries)
    assert 0 < len(expected_lost) < len(entries)
    assert expected_lost == lost
    assert [e.delivery_id for e in entries if e.delivery_id not in lost] == read


@pytest.mark.parametrize("zstd", [False, True])
def test_a_member_that_is_a_bomb_costs_little_memory(tmp_path: Path, zstd: bool) -> None:
    archive = MixedArchive(tmp_path, "zstd" if zstd else "gzip")
    entry, *others = archive.as_stored
    bomb = hostile.bomb(512 << 20, zstd=zstd)
    row = {name: getattr(entry, name) for name in Entry.__struct_fields__}
    hostile.add_member(archive.root, row, bomb, entry.line_bytes)
    short, long = Entry(**row), Entry(**row | {"line_bytes": 16 << 20})
    tracemalloc.start()
    try:
        read, lost = lost_of(archive.store, [short, long, *others])
        for each in (short, long):
            with pytest.raises(Damaged):
                reading.callback(archive.store, each)
            findings = list(checking.check_lines(each.object, [each], archive.store.get))
            assert ["damage"] == [finding.what for finding in findings]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [entry.delivery_id] * 2 == lost
    assert [other.delivery_id for other in others] == read
    assert peak < 64 << 20


# Every method is archived; few are sent.
_OTHER_METHODS = {name for name in hostile.LINES if "method" in name}


@pytest.mark.parametrize("name", sorted(hostile.LINES.keys() - _OTHER_METHODS))
def test_a_hostile_line_is_damaged(archive: MixedArchive, name: str) -> None:
    entry = archive.entries[-1]
    row = {name: getattr(entry, name) for name in Entry.__struct_fields__}
    hostile.change_line(archive.root, row, hostile.LINES[name])
    with pytest.raises(Damaged):
        reading.callback(archive.store, Entry(**row))
