"""Answers: a line of JSON, and headers that say how long it is and what to do next."""

import orjson
import pytest

from receiver import clock
from receiver.door import answers
from receiver.errors import ReceiverError, Rejected, SpoolUnavailable
from tests.door.place import answer_of


def test_an_acknowledgement_names_the_delivery_in_body_and_header() -> None:
    delivery_id = clock.new_id()
    answer = answer_of(*answers.acknowledgement(delivery_id, closes=False))
    assert (200, delivery_id) == (answer.status, answer.delivery_id)
    assert f'{{"delivery_id":"{delivery_id}"}}\n'.encode() == answer.body
    assert "connection" not in answer.headers


def test_a_head_has_no_body() -> None:
    answer = answer_of(*answers.head(closes=False))
    assert (200, b"", "0") == (answer.status, answer.body, answer.headers["content-length"])


@pytest.mark.parametrize(
    ("error", "status", "more"),
    [
        (Rejected("bad_token", "wrong", status=401), 401, {}),
        (Rejected("wrong_method", "x", status=405, allow="GET, HEAD"), 405, {"allow": "GET, HEAD"}),
        (
            Rejected("body_too_slow", "over 60 s", status=503, closes=True),
            503,
            {"connection": "close", "retry-after": "5"},
        ),
        (SpoolUnavailable('the disk "failed"\n'), 503, {"retry-after": "5"}),
        (ReceiverError(), 500, {}),
    ],
)
def test_a_refusal_says_why_and_what_to_do(
    error: ReceiverError, status: int, more: dict[str, str]
) -> None:
    answer = answer_of(*answers.refusal(error, closes=False))
    assert status == answer.status == answers.status_of(error)
    assert {"error": error.reason, "detail": str(error)} == orjson.loads(answer.body)
    assert b"\n" == answer.body[-1:]
    assert more == {
        name: value
        for name, value in answer.headers.items()
        if name not in ("content-type", "content-length")
    }


@pytest.mark.parametrize(
    "answer",
    [
        answers.acknowledgement(clock.new_id(), closes=True),
        answers.head(closes=True),
        answers.refusal(ReceiverError(), closes=True),
        answers.refusal(Rejected("slow", "", status=503, closes=True), closes=True),
    ],
)
def test_a_connection_is_closed_once(answer: answers.Answer) -> None:
    assert [b"close"] == [value for name, value in answer[1] if name == b"connection"]
