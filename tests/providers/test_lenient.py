"""The lenient reader: what it takes for good, odd and broken JSON, in steps of any size."""

import time
import tracemalloc
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.providers.lenient import Scanner, begins_as_json, scalar
from tests.providers.cases import json_values

SHAPE = {"id": None, "data": {"tag": None}, "tasks": [{"id": None, "data": {"tag": None}}]}
MIB = 1 << 20


def scan(document: bytes, step_bytes: int = 1 << 18, shape: Any = SHAPE) -> Scanner:
    scanner = Scanner(shape)
    for at in range(0, len(document), step_bytes):
        scanner.feed(document[at : at + step_bytes])
    scanner.end()
    return scanner


def judged(document: bytes, step_bytes: int = 1 << 18) -> tuple[Any, str]:
    """Return what is found, and the judgement of a document."""
    scanner = scan(document, step_bytes)
    return scanner.found, "broken" if scanner.broken else "odd" if scanner.odd else "good"


def is_good(document: bytes) -> bool:
    try:
        document.decode()
        msgspec.json.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


GOOD = [
    b"{}",
    b" [ ] ",
    b"-1.5e-07",
    b'"\\u00e4\\ud83d\\ude00\\n\\/"',
    b'{"a":[{"b":[[]],"c":{}},null,true,false,0]}',
    b'{"a":1, "a" : 2}',
    '["äöü😀"]'.encode(),
]
ODD = [
    rb'["\ud83d"]',
    rb'["\ude00\ud83d"]',
    rb'["\ud83dx\ude00"]',
    rb'["\q"]',
    b'["a\nb"]',
    b'["\x00"]',
    b"[NaN]",
    b"[-Infinity,01,+1,.5,1.]",
    b"\xef\xbb\xbf[]",
    b"[]\0",
    b"[]\n\0 \0",
    b"[" * 600 + b"]" * 600,
    rb'{"\ud83d":1}',
]
BROKEN = [
    b"",
    b" ",
    b"{",
    b"[1",
    b'["a',
    b'["a\\"',
    b"[1,]",
    b"[,1]",
    b'{"a":1,}',
    b"{,}",
    b'{"a"}',
    b'{"a":}',
    b'{"a" 1}',
    b"{a:1}",
    b"[1 2]",
    b'["a"b"]',
    b"[1}",
    b'{"a":1]',
    b"]",
    b"}",
    b"[]]",
    b"[]x",
    b"<html>",
    b"{'a':1}",
    b"[\x01]",
    b"\xff\xfe{}",
    b"[" * 200_000,
]


@pytest.mark.parametrize("step_bytes", [1, 2, 7, 1 << 18])
@pytest.mark.parametrize(
    ("documents", "judgement"), [(GOOD, "good"), (ODD, "odd"), (BROKEN, "broken")]
)
def test_documents_are_judged_whatever_the_steps(
    documents: list[bytes], judgement: str, step_bytes: int
) -> None:
    for document in documents:
        assert judgement == judged(document[:5000], step_bytes)[1], document[:40]


@given(value=json_values, step_bytes=st.integers(1, 40))
def test_good_json_is_good_and_its_values_are_found(value: Any, step_bytes: int) -> None:
    document = orjson.dumps({"id": "x", "other": value, "data": {"tag": 7}})
    assert ({"id": "x", "data": {"tag": 7}}, "good") == judged(document, step_bytes)


@given(value=json_values, cut=st.integers(1, 200), step_bytes=st.integers(1, 40))
def test_what_is_cut_is_broken_and_keeps_what_came_before(
    value: Any, cut: int, step_bytes: int
) -> None:
    document = orjson.dumps({"id": "x", "other": value})
    found, judgement = judged(document[: max(9, len(document) - cut)], step_bytes)
    assert ({"id": "x"}, "broken") == (found, judgement)


@given(document=st.text('{}[],:"\\ \n\x01x1e-.ntrufalsdN\ud83d', max_size=24))
def test_a_strict_parser_takes_what_is_good_and_no_more(document: str) -> None:
    content = document.encode("utf-8", "surrogatepass")
    judgement = judged(content)[1]
    if judgement != "odd":
        assert is_good(content) == (judgement == "good" and content.isascii())


@given(document=st.binary(max_size=60), step_bytes=st.integers(1, 70))
def test_steps_change_nothing(document: bytes, step_bytes: int) -> None:
    assert judged(document) == judged(document, step_bytes)


def test_of_an_array_the_first_object_counts_and_other_types_are_passed_over() -> None:
    document = b'{"tasks":[{"id":1,"data":[{"tag":2}]},{"id":3}],"data":{"tag":{"tag":4}}}'
    assert ({"tasks": [{"id": 1}], "data": {}}, "good") == judged(document)


def test_of_a_repeated_name_the_last_counts() -> None:
    assert {"id": 2} == judged(b'{"id":1,"id":2}')[0]


@pytest.mark.parametrize(
    ("token", "value"),
    [
        (rb'"cut \ud83d"', r"cut \ud83d"),
        (b'"gr\xfcn \xc3\xa4"', "grün ä"),
        (rb'"\q"', r"\q"),
        (b'"a\x01\n"', "a\x01\n"),
        (b"NaN", None),
        (b"undefined", None),
        (b"01", "01"),
        (b"7", 7),
        (b"9" * 5000, "9" * 5000),
        (b"20000.0", 20000.0),
        (b"true", True),
    ],
)
def test_an_odd_value_is_read_as_far_as_it_goes(token: bytes, value: object) -> None:
    assert value == scalar(token)


def test_a_body_begins_as_json_with_a_bracket() -> None:
    for body in (b"{", b" \r\n[", b"\xef\xbb\xbf\n{"):
        assert begins_as_json(body)
    for body in (b"", b" ", b"<", b"1", b'"{"', b" " * 5000 + b"{"):
        assert not begins_as_json(body)


LONG = [
    b'{"x":"' + rb"a\n" * (2 * MIB) + b'"}',
    b'{"x":["' + rb"\ud83d\ude00" * MIB + b'"]}',
    b'{"x":["' + rb"\ud83d" * MIB + b'"]}',
    b'{"x":["' + b"a" * (6 * MIB),
    b"[" + b'{"a":NaN,"b":[NaN,{"c":{"d":1}}]},' * 60_000 + b"0]",
    b"[" + b"[[[[[],1],2],3],4]," * 60_000 + b"0]",
    b'{"id":1,' + b'"' + b"k" * (6 * MIB) + b'":1}',
    b" " * (6 * MIB),
]


@pytest.mark.parametrize("document", LONG, ids=range(len(LONG)))
def test_a_long_document_costs_little_memory(document: bytes) -> None:
    """Whatever its size, a token and a step are held."""
    scan(document[:100])
    tracemalloc.start()
    scan(document)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4 * MIB


@pytest.mark.parametrize("document", LONG, ids=range(len(LONG)))
def test_time_grows_as_size_does(document: bytes) -> None:
    """A part that has been read is not read again, however the bytes come."""
    scan(document[:100])
    seconds = []
    for part in (document[: len(document) // 4], document):
        began = time.process_time()
        scan(part, 64 << 10)
        seconds.append(time.process_time() - began)
    assert seconds[1] < 10 * seconds[0] + 0.5


@pytest.mark.parametrize("step_bytes", [100_003, 1 << 18])
def test_a_long_string_is_judged_to_its_end(step_bytes: int) -> None:
    pair = rb"\ud83d\ude00\n"
    for content, judgement in ((b"", "good"), (rb"\ud83d", "odd"), (b"\x01", "odd")):
        document = b'{"x":"' + pair * 200_000 + content + pair * 200_000 + b'","id":1}'
        assert ({"id": 1}, judgement) == judged(document, step_bytes)
        assert "broken" == judged(document[:-10], step_bytes)[1]


@pytest.mark.parametrize("item", [b'"' + b"x" * 997 + b'"', b'"k":"' + b"x" * 997 + b'"'])
def test_what_was_passed_over_is_not_held(item: bytes) -> None:
    begin, end = (b"{", b"}") if b":" in item else (b"[", b"]")
    scanner, held = Scanner({"id": None}), 0
    scanner.feed(b'{"id":1,"unwanted":' + begin)
    document = (item + b",") * 3000 + item
    for at in range(0, len(document), 256 << 10):
        scanner.feed(document[at : at + (256 << 10)])
        held = max(held, len(scanner._held))
    scanner.feed(end + b"}")
    scanner.end()
    assert ({"id": 1}, False, False) == (scanner.found, scanner.odd, scanner.broken)
    assert held < 2 * len(item)
