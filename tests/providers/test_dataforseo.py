"""DataForSEO and DataForApps: postbacks and pingbacks."""

from typing import ClassVar

import orjson
import pytest

from receiver.archive import body as bodies
from receiver.archive import members
from receiver.providers import PROVIDERS, Recognised
from receiver.providers.base import query_of, undo_second_encoding
from tests.providers.cases import AdapterCases
from tests.providers.samples import Sample, sample
from tests.tools.deliveries import envelope_of, head_of


class TestDataForSeo(AdapterCases):
    provider = "dataforseo"
    repeated: ClassVar[list[set[str]]] = [
        {"postback_regular", "postback_regular_resent"},
        {"pingback", "pingback_again"},
        # Neither can be read, so nothing tells them apart but the task.
        {"postback_cut_short", "postback_html_error_page"},
    ]


class TestDataForApps(AdapterCases):
    provider = "dataforapps"
    repeated: ClassVar[list[set[str]]] = [{"postback_app_data", "postback_app_data_resent"}]


LONG = ["postback_regular", "postback_advanced", "postback_html", "postback_no_results"]


@pytest.mark.parametrize("scenario", LONG)
def test_a_long_postback_is_recognised_by_its_beginning(
    scenario: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    postback = sample("dataforseo", scenario)
    whole = postback.recognise()
    content = postback.content
    assert content
    monkeypatch.setattr(bodies, "WHOLE_BYTES_MAX", 10)
    for step_bytes in range(content.index(b'"result":') + 9, len(content) + 1, 50):
        monkeypatch.setattr(members, "STEP_BYTES", step_bytes)
        assert not postback.body.whole
        assert whole == postback.recognise()


def test_the_body_takes_precedence_over_the_query() -> None:
    postback = sample("dataforseo", "postback_tag_encoded_once")
    elsewhere = Sample(
        provider="dataforseo",
        scenario="elsewhere",
        method="POST",
        target="/dataforseo/postback/***?id=another&tag=another",
        headers=[],
        wire=postback.wire,
        expected=postback.expected,
    )
    assert postback.recognise() == elsewhere.recognise()


def recognise(target: str, body: object = None, *, kind: str = "postback") -> Recognised:
    envelope = envelope_of(head=head_of(kind=kind, target=target))
    content = b"" if body is None else orjson.dumps(body)
    return PROVIDERS["dataforseo"].recognise(envelope, content, whole=True)


def test_the_tag_of_the_query_is_used_if_the_body_has_none() -> None:
    without: list[object] = [{}, {"tag": ""}, {"tag": None}, None, []]
    for data in without:
        body = {"status_code": 20000, "tasks": [{"id": "t", "status_code": 20000, "data": data}]}
        assert "from-query" == recognise("/p?id=t&tag=from-query", body).tag


def test_a_tag_that_is_a_number_is_text() -> None:
    data = {"tag": 42, "postback_data": "html"}
    body = {"status_code": 20000, "tasks": [{"id": "t", "status_code": 20000, "data": data}]}
    found = recognise("/p?id=t", body)
    assert ("t:html", "42") == (found.key, found.tag)


def test_a_status_of_any_type_is_text() -> None:
    for code in (40102, "40102"):
        body = {"status_code": 20000, "tasks": [{"id": "t", "status_code": code}]}
        assert "40102" == recognise("/p", body).status


def test_the_first_task_counts() -> None:
    tasks = [{"id": "one", "status_code": 20000}, {"id": "two", "status_code": 40102}]
    assert "one" == recognise("/p", {"status_code": 20000, "tasks": tasks}).task_id


def test_a_task_without_an_id_anywhere_is_invalid() -> None:
    body = {"status_code": 20000, "tasks": [{"status_code": 20000}]}
    recognised = recognise("/p?id=$id", body)
    assert (None, None, "missing_id") == (
        recognised.task_id,
        recognised.key,
        recognised.invalid,
    )


@pytest.mark.parametrize(
    ("query", "tag"),
    [
        ("", None),
        ("?", None),
        ("?tag=", None),
        ("?tag=$tag", None),
        ("?tag=%24tag", None),
        ("?tag=plain", "plain"),
        ("?tag=a+b", "a b"),
        ("?tag=a%20b%26c%3Dd", "a b&c=d"),
        ("?tag=a%2Bb", "a+b"),
        ("?tag=100%25", "100%"),
        ("?tag=%C3%BC", "ü"),
        ("?tag=%FC", "ü"),
        ("?tag=a%2520b", "a b"),
        ("?tag=a%252Bb", "a+b"),
        ("?tag=%25C3%25BC", "ü"),
        ("?tag=first&tag=second", "first"),
        ("?tag=a;b", "a;b"),
    ],
)
def test_tags_are_read_from_the_query_as_the_provider_encodes_them(
    query: str, tag: str | None
) -> None:
    found = recognise("/dataforseo/pingback/***" + query, kind="pingback")
    assert tag == found.tag


def test_a_tag_that_was_encoded_once_is_not_decoded_twice() -> None:
    for text in ("50% off", "100%", "% 41", "a b%20", "%zz", "ü%41"):
        assert text == undo_second_encoding(text)


def test_parameters_are_split_before_they_are_decoded() -> None:
    assert {"id": "a&b=c", "x": "", "y": "1?2", "": ""} == query_of("/p?id=a%26b%3Dc&x&y=1?2&&")


def test_a_collected_result_has_the_key_of_its_postback() -> None:
    postback = sample("dataforseo", "postback_regular")
    task_id = postback.expected["task_id"]
    target = f"/v3/serp/google/organic/task_get/regular/{task_id}"
    envelope = envelope_of(head=head_of(kind="result", origin="sweep", target=target))
    found = PROVIDERS["dataforseo"].recognise(envelope, postback.content, whole=True)
    assert postback.expected["key"] == found.key
    assert postback.expected["task_id"] == found.task_id
