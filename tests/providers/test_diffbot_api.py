"""Conversations with Diffbot's API, each test a few replies."""

from collections.abc import Mapping
from typing import Any

import pytest

from receiver.errors import ProviderError
from receiver.providers import diffbot_api
from receiver.providers.conversation import Call
from tests.providers.conversations import NONSENSE, Api, ask, hold, reply, shown

JOB = {"name": "shop", "type": "crawl", "jobStatus": {"status": 9}}


def test_all_jobs_of_a_token_are_one_call() -> None:
    api = Api(reply({"jobs": [JOB, JOB | {"type": "bulk"}]}))
    assert ["crawl", "bulk"] == [job["type"] for job in hold(diffbot_api.jobs(), api)]
    assert [Call(path="/v3/crawl")] == api.calls


@pytest.mark.parametrize("answer", [{"jobs": []}, {"jobs": None}, {"jobs": [None, 7]}])
def test_a_token_may_have_no_jobs(answer: Any) -> None:
    assert [] == ask(diffbot_api.jobs(), reply(answer))


@pytest.mark.parametrize(
    ("action", "query"),
    [
        (None, {}),
        (diffbot_api.PAUSE, {"pause": "1"}),
        (diffbot_api.RESUME, {"pause": "0"}),
        (diffbot_api.RESTART, {"restart": "1"}),
        (diffbot_api.ROUND_START, {"roundStart": "1"}),
    ],
)
def test_a_job_is_asked_for_by_name(action: Mapping[str, str] | None, query: Any) -> None:
    api = Api(reply({"jobs": [JOB]}))
    assert JOB == hold(diffbot_api.job("shop", action=action), api)
    once = not {"restart", "roundStart"}.isdisjoint(query)
    assert [Call(path="/v3/crawl", query={"name": "shop", **query}, once=once)] == api.calls


def test_a_job_that_is_deleted_is_not_shown() -> None:
    answer = {"response": "Successfully deleted job."}
    assert answer == ask(diffbot_api.job("shop", action=diffbot_api.DELETE), reply(answer))


def test_a_job_is_not_taken_for_another() -> None:
    with pytest.raises(ProviderError, match="no job 'news'"):
        ask(diffbot_api.job("news"), reply({"jobs": [JOB]}))


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        ({"errorCode": 401, "error": "Not authorized API token."}, 401, "401: Not authorized"),
        ({"errorCode": "500", "error": "no collection record."}, 500, "500: no collection"),
        ({"errorCode": 400, "error": "No collection record"}, 200, "400: No collection"),
        ({"requestId": "7", "code": 404, "message": "No such route"}, 404, "404: No such route"),
        ({}, 404, "404: no reason given"),
    ],
)
def test_diffbot_says_why_it_refuses(answer: Any, status: int, said: str) -> None:
    for conversation in (diffbot_api.jobs(), diffbot_api.job("shop")):
        with pytest.raises(ProviderError, match=said):
            ask(conversation, reply(answer, status=status))


def test_an_unknown_job_is_not_a_fault_of_the_server() -> None:
    judge = diffbot_api.POLICY.judge
    unknown = {"errorCode": "500", "error": "no collection record."}
    assert "final" == judge(reply(unknown, status=500))
    assert "failed" == judge(reply(b"Internal Server Error", status=500))
    assert "busy" == judge(reply(b"", status=429))
    assert "final" == judge(reply({"jobs": []}))


@pytest.mark.parametrize(
    "nonsense",
    [*(body for body in NONSENSE if not body.startswith(b"{")), b'{"jobs": 7}', b'{"jobs": "x"}'],
    ids=shown,
)
def test_an_answer_of_diffbot_of_an_unknown_form_is_an_error(nonsense: bytes) -> None:
    for conversation in (diffbot_api.jobs(), diffbot_api.job("shop")):
        with pytest.raises(ProviderError):
            ask(conversation, reply(nonsense))
