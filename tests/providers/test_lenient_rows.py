"""Lists row by row: a row that cannot be read is named, all others are read."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.providers import dataforseo_api, diffbot_api, outscraper_api
from receiver.providers.lenient_rows import Rows, read_rows
from tests.providers.conversations import ask, reply

# Text within a string that strict parsers refuse, and what it is read as.
ODD = {
    rb"cut \ud83d": r"cut \ud83d",
    b"gr\xfcn": "grün",
    b"a\x01b": "a\x01b",
    rb"\q": r"\q",
    rb"\\ud83d \ud83d\ude00": "\\ud83d 😀",
}
# Rows that cannot be read: an unescaped quote, a missing comma, nesting without end.
UNREADABLE = [
    b'{"id":"bad","tag":"5" pipe"}',
    b'{"id":"bad" "tag":"x"}',
    b'{"id":"bad","deep":' + b"[" * 3000 + b"]" * 3000 + b"}",
    b'{"id":"bad","tag":"a":{"b":"c"}}',
]


def listed(*rows: bytes, name: str = "result") -> Rows | None:
    return read_rows(b'{"%b": [%b]}' % (name.encode(), b" ,\n".join(rows)), name)


def row(number: int, text: bytes = b"t") -> bytes:
    return b'{"id":"%d","tag":"%b"}' % (number, text)


@pytest.mark.parametrize("odd", ODD)
def test_odd_text_is_read(odd: bytes) -> None:
    found = listed(row(1), row(2, odd), row(3))
    assert found is not None
    assert ["t", ODD[odd], "t"] == [each["tag"] for each in found]
    assert [] == found.odd
    assert orjson.dumps(found[:]), "it can be written"


def test_numbers_that_are_none_are_null() -> None:
    assert [{"id": None}, {"id": None}] == listed(b'{"id":NaN}', b'{"id":-Infinity}')


@pytest.mark.parametrize("bad", UNREADABLE)
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_row_that_cannot_be_read_hides_no_other(bad: bytes, at: int) -> None:
    rows = [row(number) for number in range(2)]
    rows.insert(at, bad)
    found = listed(*rows)
    assert found is not None
    assert ["0", "1"] == [each["id"] for each in found]
    assert ["bad"] == [each["id"] for each in found.odd]
    assert "id 'bad'" in found.alarms[0]


def test_a_list_that_is_cut_short_is_none_because_rows_may_be_missing() -> None:
    assert read_rows(b'{"result":[' + row(1) + b"," + row(2)[:12], "result") is None
    assert read_rows(b'{"result":[' + row(1) + b"," + row(2)[:12] + b"]} \n\0", "result")


def test_what_holds_no_rows_is_none() -> None:
    for content in (b"", b"<html>", b"{}", b'{"result":7}', b'{"result":[[[[', b'{"result":["'):
        assert read_rows(content, "result") is None
    assert [] == read_rows(b'{"result":null,"x":NaN}', "result")


@given(
    bad=st.binary(max_size=30).map(lambda text: text.replace(b"}", b"")),
    at=st.integers(0, 3),
)
def test_whatever_a_string_holds_the_rows_around_it_are_read(bad: bytes, at: int) -> None:
    rows = [row(number) for number in range(3)]
    rows.insert(at, row(9, bad))
    found = listed(*rows)
    assert found is not None
    assert {"0", "1", "2"} <= {each["id"] for each in found}


GOOD_ID = "08141207-1535-0066-0000-5b1f0c9a7e21"


def ready(tag: bytes, task_id: str = GOOD_ID) -> bytes:
    path = f"/v3/serp/google/organic/task_get/advanced/{task_id}".encode()
    return b'{"id":"%b","tag":"%b","endpoint":"%b"}' % (task_id.encode(), tag, path)


ENVELOPE = b'{"status_code":20000,"tasks":[{"id":"x","status_code":20000,"data":{},"result":[%b]}]}'


@pytest.mark.parametrize("odd", ODD)
def test_finished_tasks_with_an_odd_tag_are_listed(odd: bytes) -> None:
    content = ENVELOPE % (ready(odd) + b"," + ready(b"ours", "other"))
    found = ask(dataforseo_api.tasks_ready("serp"), reply(content))
    assert [ODD[odd], "ours"] == [task.tag for task in found.tasks]
    assert () == found.odd


def test_a_finished_task_that_cannot_be_read_is_named() -> None:
    content = ENVELOPE % (b'{"id":"bad","tag":"5" pipe"},' + ready(b"ours"))
    found = ask(dataforseo_api.tasks_ready("serp"), reply(content))
    assert ["ours"] == [task.tag for task in found.tasks]
    assert ({"id": "bad", "tag": "5"},) == found.odd


def test_failed_calls_that_cannot_be_read_are_named() -> None:
    content = ENVELOPE % (b'{"id":"bad","http_url":"5" pipe"},{"id":"good","x":"\xfc"}')
    found = ask(dataforseo_api.errors("serp", "postback_url", since="", until=""), reply(content))
    assert (["good"], [{"id": "bad"}]) == ([each["id"] for each in found], found.odd)


def test_a_refusal_with_odd_text_is_a_refusal() -> None:
    content = (ENVELOPE % b'"\xfc\x01"').replace(b'20000,"data', b'40402,"data')
    with pytest.raises(Exception, match="40402"):
        ask(dataforseo_api.tasks_ready("serp"), reply(content))


def test_jobs_that_cannot_be_read_are_named() -> None:
    content = b'{"jobs":[{"name":"bad","seeds":"a "b""},{"name":"cut \\ud83d","repeat":NaN}]}'
    found = ask(diffbot_api.jobs(), reply(content))
    assert ([r"cut \ud83d"], [{"name": "bad"}]) == ([job["name"] for job in found], found.odd)


def test_requests_that_cannot_be_read_are_named() -> None:
    rows = b'[{"id":"bad" "x"},{"id":"good","tag":"\\udc00"}]'
    for content in (rows, b'{"has_more":false,"requests":%b}' % rows):
        found = ask(outscraper_api.finished_requests(), reply(content))
        assert (["good"], [{"id": "bad"}]) == (list(found), found.odd)
