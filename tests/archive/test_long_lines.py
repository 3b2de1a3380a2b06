"""Lines that are too long to be held are read in steps, wherever these are cut."""

import base64
from collections.abc import Iterator

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver import clock
from receiver.archive import long_lines, schema
from receiver.archive.schema import Entry
from receiver.errors import Damaged

# A line's own marks as they look within a body, and what must not be cut.
_WORDS = st.sampled_from(
    [
        *('"', "\\", "\n", "\x00", "\x1f", "\x7f", "a", "é", "€", "🧰", "</", '\\"'),
        *(',"body":', ',"body":"', '","body_base64":', ',"body_bytes":1', "null,"),
    ]
)
_TEXTS = st.lists(_WORDS, max_size=40).map("".join)
_BODY = {schema.BODY: None, schema.BODY_BASE64: None}
_BEFORE = {
    "delivery_id": clock.new_id(),
    "provider": "dataforseo",
    "kind": "postback",
    "origin": "callback",
    "task_id": None,
    "tag": None,
    "key": None,
    "status": None,
    "received_at": "2026-11-21T19:59:59.500000Z",
    "method": "POST",
    "target": "/",
    "headers": [["name", ""]],
    "peer": None,
    "content_type": None,
}
_BEHIND = {
    "body_bytes": 5,
    "wire_bytes": 5,
    "wire_sha256": "",
    "invalid": None,
    "instance": 'it,"body_bytes":',
}
_PLACE = {
    "segment": f"{clock.new_id()}-0",
    "position": 0,
    "of": 1,
    "object": "callbacks",
    "member_offset": 0,
    "member_bytes": 1,
    "line_offset": 0,
    "line_bytes": 1,
}


def entry_of(**columns: object) -> Entry:
    row = _BEFORE | _BEHIND | columns
    return msgspec.convert({name: row[name] for name in schema.INDEXED} | _PLACE, Entry)


def line_of(text: str | None, binary: bytes | None, header: str = "") -> bytes:
    encoded = None if binary is None else base64.b64encode(binary).decode()
    before = _BEFORE | {"headers": [["name", header]]}
    return orjson.dumps(before | {"body": text, "body_base64": encoded} | _BEHIND)


def cut(content: bytes, size: int) -> Iterator[bytes]:
    return (content[at : at + size] for at in range(0, len(content), size))


@given(text=_TEXTS, header=_TEXTS, size=st.integers(1, 50))
def test_text_is_read_out_of_a_line_wherever_it_is_cut(text: str, header: str, size: int) -> None:
    line = line_of(text, None, header)
    assert text.encode() == b"".join(long_lines.body(cut(line, size)))
    columns = _BEFORE | {"headers": [["name", header]]} | _BODY | _BEHIND
    assert (columns, True) == long_lines.columns(cut(line, size), entry_of())


@given(binary=st.binary(max_size=90), header=_TEXTS, size=st.integers(1, 50))
def test_bytes_are_read_out_of_a_line_wherever_it_is_cut(
    binary: bytes, header: str, size: int
) -> None:
    line = line_of(None, binary, header)
    assert binary == b"".join(long_lines.body(cut(line, size)))
    columns = _BEFORE | {"headers": [["name", header]]} | _BODY | _BEHIND
    assert (columns, False) == long_lines.columns(cut(line, size), entry_of())


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b'{"delivery_id":"x"' + b" " * (5 << 20),
        b'{"body":null,"body_base64":null,"body_bytes":0}'[1:],
        line_of("text", None).partition(b'"body_base64"')[0],
        line_of("text", None).replace(b"text", b"\\x"),
        line_of("text", None).replace(b"text", b"\xff"),
        line_of(None, b"bytes").replace(b"Ynl", b"Y\\l"),
        line_of(None, b"b" * 300)[:200],
    ],
)
def test_what_is_not_a_line_is_damage(line: bytes) -> None:
    with pytest.raises(Damaged):
        list(long_lines.body(cut(line, 1 << 20)))
