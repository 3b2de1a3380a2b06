"""Conversations with Outscraper's API, each test a few replies."""

from collections.abc import Callable
from typing import Any

import pytest

from receiver.errors import ProviderError
from receiver.providers import outscraper_api
from receiver.providers.conversation import Call, Conversation, Reply
from tests.providers.conversations import NONSENSE, Api, ask, hold, reply, shown


def request_page(first: int, count: int) -> Reply:
    return reply([{"id": f"{n}", "usage": "3"} for n in range(first, first + count)])


def test_finished_requests_are_read_until_a_page_is_not_full() -> None:
    api = Api(request_page(0, 100), request_page(100, 20))
    assert [f"{n}" for n in range(120)] == hold(outscraper_api.finished_requests(), api)
    assert [
        Call(path="/requests", query={"type": "finished", "skip": skip, "pageSize": "100"})
        for skip in ("0", "100")
    ] == api.calls


def test_a_list_of_requests_that_does_not_move_on_ends() -> None:
    found = ask(outscraper_api.finished_requests(), request_page(0, 100), request_page(0, 100))
    assert 100 == len(found)


def test_a_list_of_requests_may_stand_in_an_object() -> None:
    answer = {"requests": [{"id": "a"}, {"id": 7}, None]}
    assert ["a"] == ask(outscraper_api.finished_requests(), reply(answer))


@pytest.mark.parametrize("status", ["Success", "Pending", "Failure"])
def test_a_request_has_one_of_three_states(status: str) -> None:
    api = Api(reply({"id": "a", "status": status}))
    assert status == hold(outscraper_api.request("a/../b"), api).status
    assert ["/requests/a%2F..%2Fb"] == [call.path for call in api.calls]


def test_a_request_that_failed_may_have_no_body() -> None:
    assert "Failure" == ask(outscraper_api.request("a"), reply(b"", status=204)).status


@pytest.mark.parametrize("answer", [{"status": "Odd"}, {"id": "a"}, {"status": None}, [1]])
def test_a_request_of_another_state_is_an_error(answer: Any) -> None:
    with pytest.raises(ProviderError, match="unknown status"):
        ask(outscraper_api.request("a"), reply(answer))


def task_page(first: int, count: int, *, more: bool) -> Reply:
    rows = [{"id": f"{n}"} for n in range(first, first + count)]
    return reply({"tasks": rows, "has_more": more})


def test_tasks_are_read_page_by_page_behind_the_last_one_seen() -> None:
    api = Api(
        task_page(0, 100, more=True), task_page(100, 100, more=True), task_page(200, 5, more=False)
    )
    found = hold(outscraper_api.tasks(most=500), api)
    assert [f"{n}" for n in range(205)] == [row["id"] for row in found]
    assert [
        {"pageSize": "100"},
        {"pageSize": "100", "lastId": "99"},
        {"pageSize": "100", "lastId": "199"},
    ] == [call.query for call in api.calls]


def test_no_more_tasks_are_read_than_are_wanted() -> None:
    api = Api(task_page(0, 30, more=True))
    assert 30 == len(hold(outscraper_api.tasks(most=30, query="tag"), api))
    assert [{"pageSize": "30", "query": "tag"}] == [call.query for call in api.calls]
    assert 130 == len(
        ask(
            outscraper_api.tasks(most=130),
            task_page(0, 100, more=True),
            task_page(100, 100, more=True),
        )
    )


def test_a_list_of_tasks_that_does_not_move_on_ends() -> None:
    same = task_page(0, 100, more=True)
    assert 200 == len(ask(outscraper_api.tasks(most=500), same, same))


@pytest.mark.parametrize(
    ("conversation", "method"),
    [
        (outscraper_api.task, "GET"),
        (outscraper_api.restart, "PUT"),
        (outscraper_api.terminate, "DELETE"),
    ],
)
def test_a_task_is_read_restarted_and_removed(
    conversation: Callable[[str], Conversation[Reply]], method: str
) -> None:
    api = Api(reply("Done"))
    assert b'"Done"' == hold(conversation("2026 8/1"), api).content
    once = method != "GET"
    assert [Call(path="/tasks/2026%208%2F1", method=method, once=once)] == api.calls


def test_failed_webhook_calls_are_listed() -> None:
    rows = [{"date": 1786700581, "status": "Status code: 404"}]
    assert rows == ask(outscraper_api.webhook_calls(), reply([*rows, None]))
    assert rows == ask(outscraper_api.webhook_calls(), reply({"data": rows}))


CONVERSATIONS: list[Callable[[], Conversation[Any]]] = [
    outscraper_api.finished_requests,
    lambda: outscraper_api.request("a"),
    lambda: outscraper_api.tasks(most=10),
    lambda: outscraper_api.task("a"),
    lambda: outscraper_api.restart("a"),
    lambda: outscraper_api.terminate("a"),
    outscraper_api.webhook_calls,
]


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("status", [200, 401, 402, 422])
def test_outscraper_says_why_it_refuses_with_any_status(
    conversation: Callable[[], Conversation[Any]], status: int
) -> None:
    refusal = {"error": True, "errorMessage": "Past due."}
    with pytest.raises(ProviderError, match=f"HTTP {status}: Past due."):
        ask(conversation(), reply(refusal, status=status))


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("nonsense", NONSENSE[:5], ids=shown)
def test_an_answer_of_outscraper_of_an_unknown_form_is_an_error(
    conversation: Callable[[], Conversation[Any]], nonsense: bytes
) -> None:
    with pytest.raises(ProviderError, match="not JSON"):
        ask(conversation(), reply(nonsense))


@pytest.mark.parametrize(
    "conversation",
    [
        outscraper_api.finished_requests,
        lambda: outscraper_api.tasks(most=10),
        outscraper_api.webhook_calls,
    ],
)
@pytest.mark.parametrize("nonsense", [b"7", b'"x"', b"null", b"{}", b'{"tasks": 7}'], ids=shown)
def test_a_list_of_outscraper_of_an_unknown_form_is_an_error(
    conversation: Callable[[], Conversation[Any]], nonsense: bytes
) -> None:
    with pytest.raises(ProviderError, match="shape"):
        ask(conversation(), reply(nonsense))


def test_outscraper_says_later_with_429() -> None:
    judge = outscraper_api.POLICY.judge
    assert "busy" == judge(reply(b"", status=429))
    assert "failed" == judge(reply(b"", status=503))
    assert "final" == judge(reply([], status=404))


def test_the_policy_stays_within_the_documented_limit() -> None:
    assert outscraper_api.POLICY.calls_per_minute["general"] <= 20 * 60
