"""The archive's objects: keys are a function of the segment, and an entry leads to its line."""

import gzip
import random
import zlib
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver import clock
from receiver.archive import (
    COMPRESSIONS,
    SegmentObjects,
    callbacks_key,
    index_key,
    quarantine_key,
)
from receiver.archive import body as bodies
from receiver.archive.body import decode
from receiver.archive.objects import MEMBER_BYTES
from receiver.providers import Recognised
from tests.tools.deliveries import AT_US, HOUR_US, envelope_of, head_of

PROCESS = clock.new_id(AT_US)
SEGMENT = f"{PROCESS}-7"
INDEX_COLUMNS = [
    "delivery_id",
    "provider",
    "kind",
    "origin",
    "task_id",
    "tag",
    "key",
    "status",
    "received_at",
    "body_bytes",
    "invalid",
    "segment",
    "position",
    "of",
    "object",
    "member_offset",
    "member_bytes",
    "line_offset",
    "line_bytes",
]

Delivery = tuple[bytes, bytes, Recognised]


def noise(size: int, seed: int = 0) -> bytes:
    """Return bytes that do not compress, the same ones each time."""
    return random.Random(seed).randbytes(size)


def archived(deliveries: list[Delivery], compression: str = "gzip") -> dict[str, bytes]:
    """Return the objects of a segment with these heads, bodies and verdicts; the index is last."""
    objects = SegmentObjects(SEGMENT, COMPRESSIONS[compression])
    for head, wire, recognised in deliveries:
        body = decode(wire, inflated_bytes_max=1 << 30)
        objects.add(envelope_of(wire, head), body, recognised)
    assert len(deliveries) == objects.records
    made = dict(objects.callbacks())
    key, content = objects.index()
    assert key not in made
    return made | {key: content}


def inflate(content: bytes, compression: str) -> bytes:
    if compression == "gzip":
        return gzip.decompress(content)
    return zstandard.ZstdDecompressor().stream_reader(content, read_across_frames=True).read()


def index_of(objects: Mapping[str, bytes]) -> list[dict[str, Any]]:
    key, content = list(objects.items())[-1]
    assert key.startswith("index/")
    return [orjson.loads(line) for line in gzip.decompress(content).splitlines()]


def line_at(entry: Mapping[str, Any], objects: Mapping[str, bytes]) -> bytes:
    """Return what one ranged read with an index entry gives."""
    start = entry["member_offset"]
    member = objects[entry["object"]][start : start + entry["member_bytes"]]
    plain = inflate(member, "zstd" if entry["object"].endswith(".zst") else "gzip")
    return plain[entry["line_offset"] :][: entry["line_bytes"]]


def delivery(
    wire: bytes = b"{}", *, at_us: int = AT_US, recognised: Recognised | None = None, **head: Any
) -> Delivery:
    return head_of(at_us=at_us, **head), wire, recognised or Recognised()


def test_keys_are_partitioned_by_arrival_provider_and_kind() -> None:
    assert (
        f"callbacks/date=2026-11-21/hour=19/provider=diffbot/kind=notification/{SEGMENT}.jsonl.gz"
        == callbacks_key(
            SEGMENT,
            received_at_us=AT_US,
            provider="diffbot",
            kind="notification",
            suffix=".jsonl.gz",
        )
    )
    assert f"index/date=2026-11-21/hour=20/{SEGMENT}.jsonl.gz" == index_key(
        SEGMENT, first_at_us=AT_US + 500_000
    )
    assert f"quarantine/{SEGMENT}/24-96.bin" == quarantine_key(SEGMENT, offset=24, end=96)


def test_an_index_without_records_is_filed_under_the_time_its_process_began() -> None:
    assert f"index/date=2026-11-21/hour=19/{SEGMENT}.jsonl.gz" == index_key(
        SEGMENT, first_at_us=None
    )


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_segment_becomes_one_object_for_each_partition(compression: str) -> None:
    suffix = COMPRESSIONS[compression].suffix
    objects = archived(
        [
            delivery(),
            delivery(provider="diffbot", kind="notification"),
            delivery(kind="pingback"),
            delivery(at_us=AT_US + 600_000),
            delivery(),
        ],
        compression,
    )
    assert [
        f"callbacks/date=2026-11-21/hour=19/provider=dataforseo/kind=postback/{SEGMENT}{suffix}",
        f"callbacks/date=2026-11-21/hour=19/provider=diffbot/kind=notification/{SEGMENT}{suffix}",
        f"callbacks/date=2026-11-21/hour=19/provider=dataforseo/kind=pingback/{SEGMENT}{suffix}",
        f"callbacks/date=2026-11-21/hour=20/provider=dataforseo/kind=postback/{SEGMENT}{suffix}",
        f"index/date=2026-11-21/hour=19/{SEGMENT}.jsonl.gz",
    ] == list(objects)
    counts = [inflate(content, compression).count(b"\n") for content in list(objects.values())[:-1]]
    assert [2, 1, 1, 1] == counts


def test_an_index_entry_repeats_the_line_and_says_where_it_is() -> None:
    recognised = Recognised(task_id="t", tag="x", key="t:html", status="20000", invalid="no_task")
    objects = archived([delivery(), delivery(b"body", recognised=recognised)])
    entry = index_of(objects)[1]
    assert INDEX_COLUMNS == list(entry)
    found = orjson.loads(line_at(entry, objects))
    for column in INDEX_COLUMNS[:11]:
        assert found[column] == entry[column], column
    assert ("t:html", "no_task") == (entry["key"], entry["invalid"])
    assert (SEGMENT, 1, 2) == (entry["segment"], entry["position"], entry["of"])


@settings(deadline=None, max_examples=60)
@given(
    deliveries=st.lists(
        st.builds(
            delivery,
            st.binary(max_size=50)
            | st.integers(1000, 300_000).map(lambda size: b"ab" * (size // 2))
            | st.integers(200_000, 300_000).map(noise),
            at_us=st.sampled_from([AT_US, AT_US + HOUR_US]),
            kind=st.sampled_from(["postback", "pingback"]),
        ),
        max_size=8,
    ),
    compression=st.sampled_from(["gzip", "zstd"]),
)
def test_every_line_is_read_by_its_entry_alone(
    deliveries: list[Delivery], compression: str
) -> None:
    objects = archived(deliveries, compression)
    entries = index_of(objects)
    assert list(range(len(deliveries))) == [entry["position"] for entry in entries]
    lines: dict[str, list[bytes]] = {}
    for entry, (head, wire, _) in zip(entries, deliveries, strict=True):
        line = line_at(entry, objects)
        found = orjson.loads(line)
        assert envelope_of(head=head).delivery_id == found["delivery_id"] == entry["delivery_id"]
        assert len(wire) == found["wire_bytes"]
        lines.setdefault(entry["object"], []).append(line)
    # The whole object is those lines in their order, and nothing else.
    whole = {
        key: inflate(content, compression)
        for key, content in objects.items()
        if key.startswith("callbacks/")
    }
    assert whole == {key: b"".join(line + b"\n" for line in made) for key, made in lines.items()}


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_long_body_is_a_member_of_its_own(
    monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    monkeypatch.setattr(bodies, "WHOLE_BYTES_MAX", 100_000)
    long = "ä€😀".encode() * 50_000
    deliveries = [
        delivery(b"before"),
        delivery(long),
        delivery(gzip.compress(long)),
        delivery(b"behind"),
    ]
    objects = archived(deliveries, compression)
    entries = index_of(objects)
    read = [orjson.loads(line_at(entry, objects)) for entry in entries]
    assert ["before", long.decode(), long.decode(), "behind"] == [line["body"] for line in read]
    assert [0, 0, 0, 0] == [entry["line_offset"] for entry in entries]
    offsets = [entry["member_offset"] for entry in entries]
    assert sorted(set(offsets)) == offsets


def members_of(content: bytes) -> list[bytes]:
    plain = []
    while content:
        member = zlib.decompressobj(wbits=31)
        plain.append(member.decompress(content))
        assert member.eof
        content = member.unused_data
    return plain


def test_members_are_of_about_a_quarter_of_a_mebibyte() -> None:
    objects = archived([delivery(noise(3000, seed).hex().encode()) for seed in range(300)])
    content = next(iter(objects.values()))
    sizes = [len(member) for member in members_of(content)]
    assert len(sizes) > 5
    assert max(sizes) <= MEMBER_BYTES
    assert min(sizes[:-1]) > MEMBER_BYTES * 0.9
    entries = index_of(objects)
    assert sizes == [
        sum(e["line_bytes"] + 1 for e in entries if e["member_offset"] == offset)
        for offset in sorted({entry["member_offset"] for entry in entries})
    ]


def test_a_line_longer_than_a_member_is_a_member_alone() -> None:
    objects = archived([delivery(b"a"), delivery(b"b" * MEMBER_BYTES), delivery(b"c")])
    assert 3 == len(members_of(next(iter(objects.values()))))


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_the_same_segment_becomes_the_same_bytes(compression: str) -> None:
    deliveries = [
        delivery(noise(size), at_us=AT_US + size * 10_000, kind=kind)
        for size in range(0, 3000, 100)
        for kind in ("postback", "pingback")
    ]
    assert archived(deliveries, compression) == archived(deliveries, compression)


def test_a_segment_without_records_has_an_empty_index_and_nothing_else() -> None:
    objects = archived([])
    assert [f"index/date=2026-11-21/hour=19/{SEGMENT}.jsonl.gz"] == list(objects)
    assert [] == index_of(objects)
