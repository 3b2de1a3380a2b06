"""A line of a callbacks object: one schema, and the same bytes whole or in steps."""

import base64
import gzip
import hashlib
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from receiver.archive import body as bodies
from receiver.archive import line
from receiver.archive.body import Body, decode
from receiver.providers import Recognised
from tests.tools.deliveries import envelope_of, head_of

COLUMNS = [
    "delivery_id",
    "provider",
    "kind",
    "origin",
    "task_id",
    "tag",
    "key",
    "status",
    "received_at",
    "method",
    "target",
    "headers",
    "peer",
    "content_type",
    "body",
    "body_base64",
    "body_bytes",
    "wire_bytes",
    "wire_sha256",
    "invalid",
    "instance",
]
RECOGNISED = Recognised(task_id="task-1", tag="ä", key="task-1:html", status="20000")


@pytest.fixture
def in_steps(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes, int], bytes]:
    """Return a function that makes the line of a body taken in steps of so many bytes."""

    def make(wire: bytes, step_bytes: int) -> bytes:
        with monkeypatch.context() as patch:
            patch.setattr(bodies, "WHOLE_BYTES_MAX", -1)
            patch.setattr(bodies, "STEP_BYTES", step_bytes)
            patch.setattr(line, "_BASE64_BYTES", 3)
            body = decode(wire, inflated_bytes_max=1 << 30)
            # Only of nothing at all there is no step.
            assert body.whole == (body.size == 0 and body.inflated)
            before, behind = line.columns(envelope_of(wire), body, RECOGNISED)
            return b"".join(line.pieces(before, body, behind))

    return make


def whole(wire: bytes, **columns: Any) -> bytes:
    body = decode(wire, inflated_bytes_max=1 << 30)
    before, behind = line.columns(envelope_of(wire), body, RECOGNISED)
    # The id is fresh each time; it is not what is compared.
    return line.whole(before | columns, body, behind)


def without_id(made: bytes) -> bytes:
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
    before, behind = line.columns(envelope_of(content), body, RECOGNISED)
    assert expected == without_id(b"".join(line.pieces(before, body, behind)))


def line_of(body: Body, head: bytes, recognised: Recognised) -> dict[str, Any]:
    before, behind = line.columns(envelope_of(body.wire, head), body, recognised)
    made = line.whole(before, body, behind)
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
        assert COLUMNS == list(found)


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
