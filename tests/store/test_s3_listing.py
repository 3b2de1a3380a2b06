"""Pages of S3 listings: objects are taken out, and all else is left to botocore."""

from typing import Any

import pytest

from receiver.store import s3_listing

_OBJECT = "<Contents><Key>{}</Key><ETag>&quot;e&quot;</ETag><Size>{}</Size></Contents>"
_REST = "<ListBucketResult>{}<IsTruncated>false</IsTruncated>{}</ListBucketResult>"


def taken(body: str) -> tuple[dict[str, Any], str]:
    """Return what is taken out of an answer, and what is left of it."""
    answer, custom = {"body": body.encode()}, dict[str, Any]()
    s3_listing.take_contents(response_dict=answer, customized_response_dict=custom, context=None)
    return custom, answer["body"].decode()


def test_keys_and_sizes_are_taken_and_the_rest_stays() -> None:
    objects = _OBJECT.format("a/b", 7) + "\n  " + _OBJECT.format("a/c&amp;&#13;", 0)
    page, left = taken(_REST.format("<Name>b</Name>", objects))
    assert [("a/b", 7), ("a/c&\r", 0)] == list(s3_listing.listed(page))
    assert _REST.format("<Name>b</Name>", "\n  ") == left


def test_keys_are_decoded_where_the_answer_says_that_they_are_encoded() -> None:
    encoded = "<EncodingType>url</EncodingType>"
    objects = _OBJECT.format("a%3Db/c+d%2Be%25", 7)
    page, left = taken(_REST.format(encoded, objects))
    assert [("a=b/c d+e%", 7)] == list(s3_listing.listed(page))
    assert _REST.format(encoded, "") == left
    page, _ = taken(_REST.format("", objects))
    assert [("a%3Db/c+d%2Be%25", 7)] == list(s3_listing.listed(page))


@pytest.mark.parametrize(
    "body",
    [
        _REST.format("", ""),
        "<Error><Code>AccessDenied</Code></Error>",
        "",
        _REST.format("", "<s:Contents><s:Key>a</s:Key><s:Size>1</s:Size></s:Contents>"),
        _REST.format("", _OBJECT.format("a", 1) + "<Contents><Key>b</Key></Contents>"),
        _REST.format("", "<Contents><Key><![CDATA[a]]></Key><Size>1</Size></Contents>"),
    ],
)
def test_what_looks_otherwise_is_left_as_it_is(body: str) -> None:
    page, left = taken(body)
    assert [] == list(s3_listing.listed(page))
    assert body == left


def test_what_botocore_read_itself_is_listed_too() -> None:
    assert [("a", 1)] == list(
        s3_listing.listed({"Contents": [{"Key": "a", "Size": 1, "ETag": "e"}]})
    )
