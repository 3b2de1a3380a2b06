"""What is too long to be held is read in steps, wherever they are cut."""

import base64
import tracemalloc
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.archive import COMPRESSIONS, steps
from receiver.errors import Damaged

# What a line's own marks look like within a body, and what must not be cut.
_WORDS = st.sampled_from(
    [
        *('"', "\\", "\n", "\x00", "\x1f", "\x7f", "a", "é", "€", "🧰", "</", '\\"'),
        *(',"body":', ',"body":"', '","body_base64":', ',"body_bytes":1', "null,"),
    ]
)
_TEXTS = st.lists(_WORDS, max_size=40).map("".join)
_BEHIND = {"body_bytes": 5, "invalid": None, "instance": 'it,"body_bytes":'}


def line_of(text: str | None, binary: bytes | None, header: str = "") -> bytes:
    encoded = None if binary is None else base64.b64encode(binary).decode()
    before = {"delivery_id": "x", "headers": [["name", header]]}
    return orjson.dumps(before | {"body": text, "body_base64": encoded} | _BEHIND)


def cut(content: bytes, size: int) -> Iterator[bytes]:
    return (content[at : at + size] for at in range(0, len(content), size))


@given(text=_TEXTS, header=_TEXTS, size=st.integers(1, 50))
def test_text_is_read_out_of_a_line_wherever_it_is_cut(text: str, header: str, size: int) -> None:
    line = line_of(text, None, header)
    assert text.encode() == b"".join(steps.body(cut(line, size)))
    columns = {"delivery_id": "x", "headers": [["name", header]], **_BEHIND}
    assert (columns, True) == steps.columns(cut(line, size))


@given(binary=st.binary(max_size=90), header=_TEXTS, size=st.integers(1, 50))
def test_bytes_are_read_out_of_a_line_wherever_it_is_cut(
    binary: bytes, header: str, size: int
) -> None:
    line = line_of(None, binary, header)
    assert binary == b"".join(steps.body(cut(line, size)))
    columns = {"delivery_id": "x", "headers": [["name", header]], **_BEHIND}
    assert (columns, False) == steps.columns(cut(line, size))


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b'{"delivery_id":"x"' + b" " * (5 << 20),
        b'{"body":null,"body_base64":null,"body_bytes":0}'[1:],
        line_of("text", None)[:-70],
        line_of("text", None).replace(b"text", b"\\x"),
        line_of("text", None).replace(b"text", b"\xff"),
        line_of(None, b"bytes").replace(b"Ynl", b"Y\\l"),
        line_of(None, b"b" * 300)[:200],
    ],
)
def test_what_is_no_line_is_damage(line: bytes) -> None:
    with pytest.raises(Damaged):
        list(steps.body(cut(line, 1 << 20)))


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_member_is_read_in_steps_and_checked(compression: str) -> None:
    content = b"".join(b"%d," % number for number in range(1 << 18))
    gzip = compression == "gzip"
    for member in (
        COMPRESSIONS[compression].member(content),
        b"".join(COMPRESSIONS[compression].stream(cut(content, 1000))),
    ):
        assert content == b"".join(steps.inflated(member, gzip=gzip))
        assert damaged(member + b"more", gzip=gzip)
        for at in (*range(0, len(member), 7001), len(member) - 1):
            flipped = member[:at] + bytes([member[at] ^ 0x10]) + member[at + 1 :]
            assert damaged(flipped, gzip=gzip), at
            assert damaged(member[:at], gzip=gzip), at


def damaged(member: bytes, **kind: Any) -> bool:
    try:
        list(steps.inflated(member, **kind))
    except Damaged:
        return True
    return False


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_little_is_held_of_what_inflates_far(compression: str) -> None:
    pieces = (b"a" * 1_000_000 for _ in range(60))
    member = b"".join(COMPRESSIONS[compression].stream(pieces))
    tracemalloc.start()
    try:
        size = sum(map(len, steps.inflated(member, gzip=compression == "gzip")))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 60_000_000 == size
    assert peak < 16 << 20
