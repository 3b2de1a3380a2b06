"""Collecting a task, and operations on many tasks."""

from collections.abc import Callable, Sequence
from typing import Any

import orjson
import pytest

from receiver.errors import ProviderError
from receiver.providers import dataforseo_api
from receiver.providers.conversation import Call, Conversation
from tests.providers.conversations import Api, ask, hold, reply
from tests.providers.dataforseo_api.envelopes import ID, envelope, task


def collect(answer: Any, **options: Any) -> dataforseo_api.Collected:
    path = f"/v3/serp/google/organic/task_get/advanced/{ID}"
    api = Api(reply(answer, **options))
    collected = hold(dataforseo_api.task_get(path), api)
    assert [Call(path=path)] == api.calls
    return collected


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (20000, "done"),
        (40101, "done"),
        (40102, "done"),
        (40103, "done"),
        (40601, "pending"),
        (40602, "pending"),
        (40402, "pending"),
        (40403, "lost"),
        (40401, "gone"),
        (40400, "gone"),
        (40001, "failed"),
        (40501, "failed"),
        (50000, "failed"),
    ],
)
def test_the_code_of_a_task_is_its_state(code: int, state: str) -> None:
    collected = collect(envelope(task(code=code, status_message="Said so.")))
    assert (state, f"{code} Said so.") == (collected.state, collected.detail)


def test_a_collected_task_names_the_datatype_of_its_postback() -> None:
    assert "html" == collect(envelope(task([{}], data={"postback_data": "html"}))).postback_data
    for data in (None, {}, {"postback_data": 7}, [1], "x"):
        assert collect(envelope(task([{}], data=data))).postback_data is None


def test_a_result_too_large_to_be_read_whole_is_judged_by_its_beginning() -> None:
    beginning = orjson.dumps(envelope(task([{"items": ["x" * 50]}])))[:-60]
    assert "done" == collect(beginning, whole=False).state


def test_a_task_without_an_answer_is_an_error() -> None:
    with pytest.raises(ProviderError, match="without a task"):
        collect(envelope())


@pytest.mark.parametrize(
    ("conversation", "path", "most"),
    [
        (dataforseo_api.webhook_resend, "/v3/appendix/webhook_resend", dataforseo_api.RESEND_MAX),
        (dataforseo_api.force_stop, "/v3/on_page/force_stop", dataforseo_api.FORCE_STOP_MAX),
    ],
)
def test_many_ids_go_into_one_call(
    conversation: Callable[[Sequence[str]], Conversation[dict[str, str]]], path: str, most: int
) -> None:
    ids = [f"task-{n}" for n in range(most)]
    tasks = [task(id=task_id, code=20100, status_message="Task Created.") for task_id in ids]
    api = Api(reply(envelope(*tasks)))
    said = hold(conversation(ids), api)
    assert dict.fromkeys(ids, "20100 Task Created.") == said
    (call,) = api.calls
    assert ("POST", path, [{"id": task_id} for task_id in ids]) == (
        call.method,
        call.path,
        call.json,
    )
    with pytest.raises(AssertionError):
        hold(conversation([*ids, "one-too-many"]), Api())


def test_answers_are_matched_by_id_then_by_position() -> None:
    first = task(id="b", code=40401, status_message="Task Not Found.")
    second = task(id=None, code=20100, status_message="Task Created.")
    said = ask(dataforseo_api.webhook_resend(["a", "b"]), reply(envelope(second, first)))
    assert {"a": "20100 Task Created.", "b": "40401 Task Not Found."} == said


def test_an_id_that_is_left_out_shares_the_answer_to_the_call() -> None:
    said = ask(dataforseo_api.force_stop(["a", "b"]), reply(envelope(task(id="a"))))
    assert {"a": "20000 Ok.", "b": "20000 Ok."} == said


def test_long_lists_of_ids_are_split() -> None:
    ids = [str(n) for n in range(250)]
    assert [ids[:100], ids[100:200], ids[200:]] == list(dataforseo_api.batches(ids, 100))
    assert [] == list(dataforseo_api.batches([], 100))
