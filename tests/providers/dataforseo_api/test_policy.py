"""Which replies are final, and which mean "later"."""

import pytest

from receiver.providers.conversation import Reply
from receiver.providers.dataforseo_api import POLICY
from tests.providers.conversations import reply
from tests.providers.dataforseo_api.envelopes import envelope, task


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (reply(envelope(task([]))), "final"),
        (reply({"status_code": 40202, "tasks": None}), "busy"),
        (reply({"status_code": 40209, "tasks": None}), "busy"),
        (reply(envelope(task(code=40202))), "busy"),
        (reply(envelope(task(code=40209))), "busy"),
        (reply(b"", status=429), "busy"),
        (reply({"status_code": 50000, "tasks": None}), "failed"),
        (reply({"status_code": 50303, "tasks": None}), "failed"),
        (reply(b"Bad Gateway", status=502), "failed"),
        (reply({"status_code": 40402, "tasks": None}), "final"),
        (reply({"status_code": 40100, "tasks": None}, status=401), "final"),
        (reply(b"<html>"), "final"),
        (reply(b'{"half": '), "final"),
        (reply(envelope(task(code=40601))), "final"),
        (reply(envelope(task(code=40403))), "final"),
        # Text in a result that looks like a code is not one.
        (reply(envelope(task([{"text": '"status_code": 40202'}]))), "final"),
    ],
)
def test_a_reply_is_judged_by_the_codes_inside_http_200(answer: Reply, verdict: str) -> None:
    assert verdict == POLICY.judge(answer)


def test_one_busy_task_of_many_does_not_make_all_of_them_wait() -> None:
    answer = reply(envelope(task(id="a"), task(id="b", code=40202)))
    assert "final" == POLICY.judge(answer)


def test_the_policy_stays_within_the_documented_limits() -> None:
    assert POLICY.calls_per_minute["tasks_ready"] <= 20
    assert POLICY.calls_per_minute["status"] <= 10
    assert POLICY.calls_per_minute["general"] <= 2000
    assert POLICY.simultaneous <= 30
