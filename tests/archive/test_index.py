"""Index objects are not trusted: damaged entries are passed over, the others count."""

import gzip
import logging
import tracemalloc
from pathlib import Path
from typing import Any

import orjson
import pytest

from receiver.archive import index, members, schema
from receiver.archive.schema import Entry
from receiver.errors import Damaged
from tests.catalog.place import index_line
from tests.tools import hostile

SEGMENT = "019ab0ab-7d66-7f00-8000-0123456789ab-7"
KEY = f"index/date=2026-11-21/hour=19/{SEGMENT}.jsonl.gz"


def lines(count: int, **columns: Any) -> list[dict[str, Any]]:
    return [dict(index_line(SEGMENT, at, f"task-{at}", of=count, **columns)) for at in range(count)]


def packed(rows: list[dict[str, Any]]) -> bytes:
    return members.INDEX.member(b"".join(orjson.dumps(row) + b"\n" for row in rows))


def test_sound_entries_are_read_in_order() -> None:
    rows = lines(2000, provider="not-installed_1", kind="anything", origin="audit")
    read = index.read(KEY, packed(rows))
    assert ([Entry(**row) for row in rows], 0, ()) == (read.entries, read.damaged, read.details)
    assert [] == index.entries(KEY, members.INDEX.member(b""))


@pytest.mark.parametrize("changes", hostile.ENTRIES.values(), ids=hostile.ENTRIES)
def test_a_hostile_entry_does_not_lose_the_others(tmp_path: Path, changes: hostile.Row) -> None:
    rows = lines(3)
    path = tmp_path / "index"
    path.write_bytes(packed(rows))
    hostile.rewrite_index(path, lambda entries: entries[1].update(changes))
    read = index.read(KEY, path.read_bytes())
    assert [Entry(**rows[0]), Entry(**rows[2])] == read.entries
    assert 1 == read.damaged
    assert "injected" not in str(read.details)


@pytest.mark.parametrize("line", [b"{}", b"[", b"\xff", b'{"a":' * 10_000, b'"\\ud83d"'])
def test_a_line_that_is_no_entry_does_not_lose_the_others(line: bytes) -> None:
    rows = [orjson.dumps(row) for row in lines(2)]
    content = members.INDEX.member(b"\n".join([rows[0], line, rows[1]]) + b"\n")
    read = index.read(KEY, content)
    assert (2, 1) == (len(read.entries), read.damaged)


def test_a_delivery_is_in_an_index_object_once() -> None:
    rows = lines(3)
    rows[2]["delivery_id"] = rows[0]["delivery_id"]
    assert rows[:2] == [_plain(entry) for entry in index.read(KEY, packed(rows)).entries]


def test_all_lines_of_a_segment_have_one_compression() -> None:
    rows = lines(3)
    rows[0]["object"] = rows[0]["object"].removesuffix("gz") + "zst"
    assert rows[1:] == [_plain(entry) for entry in index.read(KEY, packed(rows)).entries]


def test_damaged_entries_are_logged_and_few_are_described(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = lines(100)
    for row in rows[:90]:
        row["line_bytes"] = -1
    with caplog.at_level(logging.ERROR):
        assert 10 == len(index.entries(KEY, packed(rows)))
    (record,) = caplog.records
    assert (KEY, 90) == (record.__dict__["key"], record.__dict__["damaged"])
    assert 10 == record.__dict__["error"].count("line_bytes")


@pytest.mark.parametrize("content", [b"", b"text", members.INDEX.member(b"{}\n")])
def test_what_is_not_an_index_object_is_damaged(content: bytes) -> None:
    with pytest.raises(Damaged):
        index.entries(KEY, content)


def test_a_cut_index_object_is_damaged_as_a_whole() -> None:
    with pytest.raises(Damaged):
        index.read(KEY, packed(lines(5000))[:-9])


@pytest.mark.parametrize("character", ["x", "é"])
def test_longer_texts_of_older_archives_are_read_as_null(character: str) -> None:
    for name, bound in schema.BOUNDED.items():
        rows = lines(1)
        rows[0][name] = text = character * (bound // len(character.encode()))
        assert rows == [_plain(entry) for entry in index.read(KEY, packed(rows)).entries]
        rows[0][name] = text + "x"
        read = [_plain(entry) for entry in index.read(KEY, packed(rows)).entries]
        assert [rows[0] | {name: None}] == read


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(hostile.bomb(256 << 20), id="zeros"),
        pytest.param(gzip.compress(b"\n" * (64 << 20), 6), id="empty lines"),
        pytest.param(gzip.compress(b"{}\n" * (4 << 20), 6), id="empty objects"),
        pytest.param(gzip.compress(orjson.dumps(lines(1)[0]) * 60_000, 6), id="entries in a line"),
    ],
)
def test_a_bomb_costs_little_memory(content: bytes) -> None:
    tracemalloc.start()
    try:
        read = index.read(KEY, content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(read.entries) <= 1
    assert peak < 200 << 20


def test_no_more_entries_are_held_than_the_size_allows() -> None:
    rows = lines(1)
    start = int(rows[0]["delivery_id"][-12:], 16)
    many = bytearray()
    for at in range(100_000):
        rows[0]["delivery_id"] = f"{rows[0]['delivery_id'][:24]}{(start + at) % (1 << 48):012x}"
        many += orjson.dumps(rows[0]) + b"\n"
    content = gzip.compress(bytes(many), 9)
    read = index.read(KEY, content)
    assert read.damaged
    assert len(read.entries) <= len(content) // 8 + 1


def _plain(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in Entry.__struct_fields__}
