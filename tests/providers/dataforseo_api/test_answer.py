"""Answers that are refusals, or not the API's envelope at all."""

from collections.abc import Callable
from typing import Any

import pytest

from receiver.errors import ProviderError
from receiver.providers import dataforseo_api
from receiver.providers.conversation import Conversation
from tests.providers.conversations import NONSENSE, ask, reply, shown
from tests.providers.dataforseo_api.envelopes import ID, envelope, task

CONVERSATIONS: list[Callable[[], Conversation[Any]]] = [
    lambda: dataforseo_api.tasks_ready("serp"),
    lambda: dataforseo_api.task_get(f"/v3/serp/google/organic/task_get/advanced/{ID}"),
    lambda: dataforseo_api.errors("serp", "postback_url", since="", until=""),
    lambda: dataforseo_api.webhook_resend([ID]),
    lambda: dataforseo_api.force_stop([ID]),
    dataforseo_api.status,
    dataforseo_api.user_data,
]


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("code", [40100, 40200, 40202, 40402, 50000])
def test_a_refusal_is_an_error_that_says_why(
    conversation: Callable[[], Conversation[Any]], code: int
) -> None:
    refusal = {"status_code": code, "status_message": "Not so.", "tasks": None}
    with pytest.raises(ProviderError, match=f"{code} Not so."):
        ask(conversation(), reply(refusal))


@pytest.mark.parametrize(
    "conversation",
    [
        lambda: dataforseo_api.tasks_ready("serp"),
        lambda: dataforseo_api.errors("serp", "postback_url", since="", until=""),
        dataforseo_api.status,
    ],
)
def test_a_list_whose_only_task_failed_is_an_error(
    conversation: Callable[[], Conversation[Any]],
) -> None:
    refusal = envelope(task(code=40402, status_message="Invalid Path."))
    with pytest.raises(ProviderError, match="40402 Invalid Path"):
        ask(conversation(), reply(refusal))


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("nonsense", NONSENSE, ids=shown)
def test_an_answer_that_is_not_the_envelope_is_an_error(
    conversation: Callable[[], Conversation[Any]], nonsense: bytes
) -> None:
    with pytest.raises(ProviderError):
        ask(conversation(), reply(nonsense))


@pytest.mark.parametrize("result", [7, "x", True, {"a": 1}])
@pytest.mark.parametrize(
    "conversation",
    [
        lambda: dataforseo_api.tasks_ready("serp"),
        lambda: dataforseo_api.errors("serp", "postback_url", since="", until=""),
        dataforseo_api.status,
    ],
)
def test_a_result_that_is_not_a_list_is_an_error(
    conversation: Callable[[], Conversation[Any]], result: Any
) -> None:
    with pytest.raises(ProviderError):
        ask(conversation(), reply(envelope(task(result))))
