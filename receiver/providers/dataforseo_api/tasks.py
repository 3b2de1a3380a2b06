"""One task's result, and operations on many tasks."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import msgspec

from receiver.errors import ProviderError
from receiver.providers.conversation import Call, Conversation, Reply
from receiver.providers.dataforseo_api.answer import (
    ApiTask,
    code_and_message,
    is_success,
    read_answer,
    read_codes,
)

# Tasks that one call takes.
RESEND_MAX = 100
FORCE_STOP_MAX = 1000

State = Literal["done", "pending", "lost", "gone", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What collecting a task returned; ``reply`` is its result if ``state`` is done."""

    state: State
    detail: str
    reply: Reply
    # The datatype of the postback that the task was posted with.
    postback_data: str | None


def task_get(path: str) -> Conversation[Collected]:
    """Collect one task.  The first collection takes it off its list; later ones cost nothing."""
    reply = yield Call(path=path)
    task = _first_task(reply)
    code = task.status_code or 0
    return Collected(
        state=_state(code),
        detail=code_and_message(code, task.status_message),
        reply=reply,
        postback_data=_postback_data(task),
    )


def webhook_resend(ids: Sequence[str]) -> Conversation[dict[str, str]]:
    """Request the webhooks of at most a hundred tasks again; return the answer for each id."""
    return (yield from _each("/v3/appendix/webhook_resend", ids, most=RESEND_MAX))


def force_stop(ids: Sequence[str]) -> Conversation[dict[str, str]]:
    """Stop at most a thousand OnPage crawls; return the answer for each id."""
    return (yield from _each("/v3/on_page/force_stop", ids, most=FORCE_STOP_MAX))


def batches(ids: Iterable[str], most: int) -> Iterator[list[str]]:
    """Split ids into lists of at most ``most``."""
    remaining = iter(ids)
    while batch := list(islice(remaining, most)):
        yield batch


def _each(path: str, ids: Sequence[str], *, most: int) -> Conversation[dict[str, str]]:
    assert len(ids) <= most
    reply = yield Call(path=path, method="POST", json=[{"id": task_id} for task_id in ids])
    answer = read_answer(reply)
    by_id = {task.id: task for task in reversed(answer.tasks or ())}
    in_order = dict(zip(ids, answer.tasks or (), strict=False))
    answers = {}
    for task_id in ids:
        # By id where the answer repeats it, else by position; a task left out shares the answer
        # to the whole call.
        task = by_id.get(task_id) or in_order.get(task_id) or answer
        answers[task_id] = code_and_message(task.status_code, task.status_message)
    return answers


def _first_task(reply: Reply) -> ApiTask:
    if not reply.whole:
        # The result is too large to be read whole; the codes stand before it.
        code, of_tasks = read_codes(reply)
        return ApiTask(status_code=of_tasks[0] if of_tasks else code)
    tasks = read_answer(reply).tasks
    if not tasks:
        raise ProviderError("the API answered without a task")
    return tasks[0]


def _state(code: int) -> State:
    """Return what a task's code means for its result (docs.dataforseo.com/v3/appendix/errors)."""
    if is_success(code) or code in (40101, 40102, 40103):
        return "done"  # here 401xx are final: the task ended without data
    if code in (40601, 40602, 40402):
        return "pending"  # 40402 was seen for a moment on valid paths
    if code == 40403:
        return "lost"
    return "gone" if code in (40401, 40400) else "failed"


def _postback_data(task: ApiTask) -> str | None:
    try:
        data = msgspec.json.decode(task.data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    datatype = data.get("postback_data") if isinstance(data, dict) else None
    return datatype if isinstance(datatype, str) else None
