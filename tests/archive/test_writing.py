"""Writing: a line has one schema, and an entry of the index leads to it."""

import base64
import gzip
import hashlib
import random
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from receiver import clock
from receiver.archive import COMPRESSIONS, SegmentObjects, members, schema, writing
from receiver.archive import body as bodies
from receiver.archive.body import Body, decode
from receiver.archive.members import GZIP, Compression
from receiver.archive.writing import MEMBER_BYTES
from receiver.providers import Recognised
from tests.tools.deliveries import AT_US, HOUR_US, envelope_of, head_of
from tests.tools.support import zstd

RECOGNISED = Recognised(task_id="task-1", tag="ä", key="task-1:html", status="20000")


@pytest.fixture
def in_steps(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes, int], bytes]:
    """Return a function that makes the line of a body in steps of a given size."""

    def make(wire: bytes, step_bytes: int) -> bytes:
        with monkeypatch.context() as patch:
            patch.setattr(bodies, "WHOLE_BYTES_MAX", -1)
            patch.setattr(members, "STEP_BYTES", step_bytes)
            patch.setattr(writing, "_BASE64_BYTES", 3)
            body = decode(wire, inflated_bytes_max=1 << 30)
            # Only an empty body has no step.
            assert body.whole == (body.size == 0 and body.inflated)
            columns = writing.columns(envelope_of(wire), body, RECOGNISED)
            return b"".join(writing.line_pieces(columns, body))

    return make


def whole(wire: bytes) -> bytes:
    body = decode(wire, inflated_bytes_max=1 << 30)
    return writing.whole_line(writing.columns(envelope_of(wire), body, RECOGNISED), body)


def without_id(made: bytes) -> bytes:
    """Return a line without its id, which is fresh each time."""
    found = orjson.loads(made)["delivery_id"].encode()
    return made.replace(found, b"")


every_way = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=300,
)


@every_way
@given(
    content=st.binary(max_size=60)
    | st.text(max_size=40).map(str.encode)
    | st.text(st.sampled_from('aä€😀"\\\n\x00\x7f\u2028'), max_size=40).map(str.encode),
    step_bytes=st.integers(1, 9),
    compressed=st.booleans(),
)
@example(content="😀".encode() * 3, step_bytes=1, compressed=False)
@example(content="😀".encode() * 3, step_bytes=3, compressed=True)
@example(content=b"", step_bytes=1, compressed=False)
@example(content=b"\xf0\x9f\x98", step_bytes=2, compressed=False)
def test_a_line_made_in_steps_is_the_line_made_whole(
    in_steps: Callable[[bytes, int], bytes], content: bytes, step_bytes: int, compressed: bool
) -> None:
    wire = gzip.compress(content) if compressed else content
    assert without_id(whole(wire)) == without_id(in_steps(wire, step_bytes))


@pytest.mark.parametrize(
    "content",
    [
        ("aä€😀" * 300_000).encode(),
        bytes(range(256)) * 5000,
        b"x" + "😀".encode() * 400_000,
        b"\xf0\x9f\x98" + b"x" * (1 << 20),
    ],
)
def test_the_real_steps_join_too(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    expected = without_id(whole(content))
    monkeypatch.setattr(bodies, "WHOLE_BYTES_MAX", 0)
    body = decode(content, inflated_bytes_max=0)
    columns = writing.columns(envelope_of(content), body, RECOGNISED)
    assert expected == without_id(b"".join(writing.line_pieces(columns, body)))


def line_of(body: Body, head: bytes, recognised: Recognised) -> dict[str, Any]:
    made = writing.whole_line(writing.columns(envelope_of(body.wire, head), body, recognised), body)
    assert made.endswith(b"\n")
    assert 1 == made.count(b"\n")
    return orjson.loads(made)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("wire", "recognised"),
    [
        (b"", Recognised()),
        (b'{"id":1}', RECOGNISED),
        (b"\xff\xfe", Recognised(invalid="not_json")),
        (gzip.compress(b"text", mtime=0), RECOGNISED),
        (b"\x1f\x8b cut", Recognised()),
    ],
)
def test_the_columns_and_their_order_never_vary(wire: bytes, recognised: Recognised) -> None:
    for head in (head_of(), head_of(peer=None, headers=[("content-type", "text/plain")])):
        found = line_of(decode(wire, inflated_bytes_max=1000), head, recognised)
        assert schema.names(schema.LINE) == tuple(found)


def test_text_is_kept_exactly() -> None:
    text = '{"ä": "€😀\\n\\u0000", "nul": "\x00\x7f\u2028"}\r\n'
    wire = gzip.compress(text.encode())
    found = line_of(decode(wire, inflated_bytes_max=1000), head_of(), RECOGNISED)
    assert text == found["body"]
    assert found["body_base64"] is None
    assert len(text.encode()) == found["body_bytes"]
    assert len(wire) == found["wire_bytes"]
    assert hashlib.sha256(wire).hexdigest() == found["wire_sha256"]


def test_what_is_not_text_is_kept_in_base64() -> None:
    wire = bytes(range(256))
    found = line_of(decode(wire, inflated_bytes_max=1000), head_of(), RECOGNISED)
    assert found["body"] is None
    assert wire == base64.b64decode(found["body_base64"], validate=True)


def test_a_body_that_cannot_be_decoded_is_kept_as_it_came() -> None:
    wire = gzip.compress(b"x" * 50)[:-3]
    found = line_of(decode(wire, inflated_bytes_max=1000), head_of(), Recognised(invalid="other"))
    assert wire == base64.b64decode(found["body_base64"], validate=True)
    assert "not_gzip" == found["invalid"]
    assert len(wire) == found["body_bytes"] == found["wire_bytes"]


@pytest.mark.parametrize(("name", "bound"), schema.BOUNDED.items())
@pytest.mark.parametrize(
    ("make", "kept"),
    [
        (lambda bound: "x" * bound, True),
        (lambda bound: "x" * (bound + 1), False),
        (lambda bound: "é" * (bound // 2), True),
        (lambda bound: "é" * (bound // 2 + 1), False),
        (lambda bound: "cut \ud83d", False),
        (lambda bound: 20000, False),
    ],
)
def test_what_an_adapter_recognised_is_bounded(
    name: str, bound: int, make: Callable[[int], Any], kept: bool
) -> None:
    value = make(bound)
    recognised = Recognised(**{**_plain(RECOGNISED), name: value})
    body = decode(b"{}", inflated_bytes_max=9)
    columns = writing.columns(envelope_of(), body, recognised)
    expected = _plain(RECOGNISED) | {name: value if kept else None}
    assert expected == {known: columns[known] for known in schema.BOUNDED}
    assert (None if kept else "too_long") == columns["invalid"]
    orjson.dumps(columns)


def test_the_reason_of_an_adapter_goes_first_if_it_can_be_read_back() -> None:
    body = decode(b"{}", inflated_bytes_max=9)
    for reason, invalid in (("no_task", "no_task"), ("No\r\nTask!", "not_recognised")):
        recognised = Recognised(task_id="x" * 2000, invalid=reason)
        columns = writing.columns(envelope_of(), body, recognised)
        assert (None, invalid) == (columns["task_id"], columns["invalid"])


def _plain(recognised: Recognised) -> dict[str, Any]:
    return {name: getattr(recognised, name) for name in schema.BOUNDED}


def test_the_columns_say_what_arrived_and_how() -> None:
    headers = [("content-type", "application/json; charset=ä"), ("via", "a"), ("via", "b")]
    head = head_of(
        "0192-id",
        provider="outscraper",
        kind="webhook",
        origin="sweep",
        target="/outscraper/webhook/***?x=%20",
        headers=headers,
    )
    found = line_of(decode(b"{}", inflated_bytes_max=10), head, RECOGNISED)
    assert {
        "delivery_id": "0192-id",
        "provider": "outscraper",
        "kind": "webhook",
        "origin": "sweep",
        "task_id": "task-1",
        "tag": "ä",
        "key": "task-1:html",
        "status": "20000",
        "received_at": "2026-11-21T19:59:59.500000Z",
        "method": "POST",
        "target": "/outscraper/webhook/***?x=%20",
        "headers": [list(pair) for pair in headers],
        "peer": "192.0.2.7",
        "content_type": "application/json; charset=ä",
        "body": "{}",
        "body_base64": None,
        "body_bytes": 2,
        "wire_bytes": 2,
        "wire_sha256": hashlib.sha256(b"{}").hexdigest(),
        "invalid": None,
        "instance": "tests",
    } == found


# The objects of a segment.

PROCESS = clock.new_id(AT_US)
SEGMENT = f"{PROCESS}-7"
both = pytest.mark.parametrize("compression", COMPRESSIONS.values(), ids=COMPRESSIONS)

Delivery = tuple[bytes, bytes, Recognised]


def noise(size: int, seed: int = 0) -> bytes:
    """Return bytes that do not compress, the same ones each time."""
    return random.Random(seed).randbytes(size)


def archived(deliveries: list[Delivery], compression: Compression = GZIP) -> dict[str, bytes]:
    """Return the objects of a segment with these heads, bodies and verdicts; the index is last."""
    objects = SegmentObjects(SEGMENT, compression)
    for head, wire, recognised in deliveries:
        body = decode(wire, inflated_bytes_max=1 << 30)
        objects.add(envelope_of(wire, head), body, recognised)
    assert len(deliveries) == objects.records
    made = dict(objects.callbacks())
    key, content = objects.index()
    assert key not in made
    return made | {key: content}


def inflate(key: str, content: bytes) -> bytes:
    """Inflate an object as any tool does."""
    return gzip.decompress(content) if key.endswith(".gz") else zstd.decompress(content)


def index_of(objects: Mapping[str, bytes]) -> list[dict[str, Any]]:
    key, content = list(objects.items())[-1]
    assert key.startswith("index/")
    return [orjson.loads(line) for line in gzip.decompress(content).splitlines()]


def line_at(entry: Mapping[str, Any], objects: Mapping[str, bytes]) -> bytes:
    """Return what one ranged read with an index entry gives."""
    start = entry["member_offset"]
    member = objects[entry["object"]][start : start + entry["member_bytes"]]
    plain = inflate(entry["object"], member)
    return plain[entry["line_offset"] :][: entry["line_bytes"]]


def delivery(
    wire: bytes = b"{}", *, at_us: int = AT_US, recognised: Recognised | None = None, **head: Any
) -> Delivery:
    return head_of(at_us=at_us, **head), wire, recognised or Recognised()


@both
def test_a_segment_becomes_one_object_for_each_partition(compression: Compression) -> None:
    suffix = compression.suffix
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
    counts = [inflate(*made).count(b"\n") for made in list(objects.items())[:-1]]
    assert [2, 1, 1, 1] == counts


def test_an_index_entry_repeats_the_line_and_says_where_it_is() -> None:
    recognised = Recognised(task_id="t", tag="x", key="t:html", status="20000", invalid="no_task")
    objects = archived([delivery(), delivery(b"body", recognised=recognised)])
    entry = index_of(objects)[1]
    assert schema.names(schema.ENTRY) == tuple(entry)
    found = orjson.loads(line_at(entry, objects))
    for column in schema.INDEXED:
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
    compression=st.sampled_from(list(COMPRESSIONS.values())),
)
def test_every_line_is_read_by_its_entry_alone(
    deliveries: list[Delivery], compression: Compression
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
        key: inflate(key, content)
        for key, content in objects.items()
        if key.startswith("callbacks/")
    }
    assert whole == {key: b"".join(line + b"\n" for line in made) for key, made in lines.items()}


@both
def test_a_long_body_is_a_member_of_its_own(
    monkeypatch: pytest.MonkeyPatch, compression: Compression
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


@both
def test_the_same_segment_becomes_the_same_bytes(compression: Compression) -> None:
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
