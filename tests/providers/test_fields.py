"""Fields of a body: strictly where that works, else as far as the bytes allow."""

import msgspec
import pytest

from receiver.providers.base import brings_result
from receiver.providers.fields import UnreadableBody, read_fields, read_json, text_of


class Part(msgspec.Struct):
    id: str | int | None = None


class Whole(msgspec.Struct):
    name: str | None = None
    count: int | None = None
    share: float | None = None
    part: Part | None = None
    parts: list[Part] | None = None
    within: "Whole | None" = None
    renamed: str | None = msgspec.field(default=None, name="other")


DECODER = msgspec.json.Decoder(Whole)


def test_good_json_is_read_strictly() -> None:
    assert (Whole(name="x", parts=[Part(1), Part(2)]), None) == read_fields(
        b'{"name":"x","parts":[{"id":1},{"id":2}]}', DECODER
    )


@pytest.mark.parametrize(
    ("body", "fields", "invalid"),
    [
        (None, Whole(), "undecodable"),
        (b" \n", Whole(), "empty"),
        (b"<html>", Whole(), "not_json"),
        (b"[]", Whole(), "unknown_kind"),
        (b'"x"', Whole(), "unknown_kind"),
        # A field of another type has its default; 3.0 is the number 3.
        (b'{"name":7,"count":"3","part":[],"other":"x"}', Whole(renamed="x"), None),
        (b'{"name":["x"],"count":3.0,"share":0.5}', Whole(count=3, share=0.5), None),
        (b'{"name":"x","parts":[{"id":1},{"id', Whole(name="x", parts=[Part(1)]), "not_json"),
        (b'{"name":"x","z":NaN,"part":{"id":2}}', Whole(name="x", part=Part(2)), "odd_text"),
        (b'{"name":[],"within":{"name":"y"}}', Whole(within=Whole(name="y")), None),
    ],
)
def test_what_is_not_as_it_should_be_is_read_as_far_as_it_goes(
    body: bytes | None, fields: Whole, invalid: str | None
) -> None:
    assert (fields, invalid) == read_fields(body, DECODER)


def test_the_beginning_of_a_body_is_not_taken_for_one_that_is_cut_short() -> None:
    assert (Whole(name="x"), None) == read_fields(b'{"name":"x","z":"', DECODER, whole=False)


def test_read_json_raises_the_reason() -> None:
    assert Whole(name="x") == read_json(b'{"name":"x"}', DECODER)
    with pytest.raises(UnreadableBody, match="odd_text"):
        read_json(b'{"name":"x\x01"}', DECODER)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, None), ("", None), ("x", "x"), (7, "7"), (20000.0, "20000"), (1.5, "1.5")],
)
def test_fields_are_text(value: str | float | None, text: str | None) -> None:
    assert text == text_of(value)


@pytest.mark.parametrize("kind", ["postback", "result"])
def test_a_result_counts_unless_its_body_has_none(kind: str) -> None:
    for invalid in (None, "odd_text", "inflates_too_far"):
        assert brings_result(kind, invalid)
    for invalid in ("not_json", "empty", "no_task", "other_task", "unknown_kind", "not_gzip"):
        assert not brings_result(kind, invalid)
        assert brings_result("pingback", invalid)
