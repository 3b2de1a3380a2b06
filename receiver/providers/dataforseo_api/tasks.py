"""One task's result, and operations on many tasks."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import msgspec

from receiver.errors import ProviderError
from receiver.providers.conversation import Call, Conversation, Reply
from receiver.providers.dataforseo_api.answer import (
    code_and_message,
    is_success,
    read_answer,
)
from receiver.providers.fields import ODD_TEXT, read_fields, text_of

# Tasks that one call takes.
RESEND_MAX = 100
FORCE_STOP_MAX = 1000

State = Literal["done", "pending", "lost", "gone", "failed"]


class _CollectedData(msgspec.Struct):
    postback_data: str | None = None


class _CollectedTask(msgspec.Struct):
    id: str | int | float | None = None
    status_code: int | float | None = None
    status_message: str | None = None
    data: _CollectedData | None = None


class _Collected(msgspec.Struct):
    status_code: int | float | None = None
    status_message: str | None = None
    tasks: list[_CollectedTask] | None = None


_COLLECTED = msgspec.json.Decoder(_Collected)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What collecting a task returned; ``reply`` is its result if ``state`` is done."""

    state: State
    detail: str
    reply: Reply
    # The datatype of the postback that the task was posted with.
    postback_data: str | None
    # Why the reply is not the task's result, though its code says so; it is kept all the same.
    problem: str | None = None


def task_get(path: str) -> Conversation[Collected]:
    """Collect one task.  The first collection takes it off its list; later ones cost nothing."""
    reply = yield Call(path=path)
    code, task, invalid = _read_collected(reply)
    problem = None
    if invalid not in (None, ODD_TEXT):
        problem = f"what came is not the API's envelope to its end ({invalid})"
    elif (found := text_of(task.id)) is not None and found != path.rpartition("/")[2]:
        problem = f"what came is of another task, {found}"
    return Collected(
        state=_state(code),
        detail=code_and_message(code, task.status_message),
        reply=reply,
        postback_data=task.data.postback_data if task.data else None,
        problem=problem,
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


def _read_collected(reply: Reply) -> tuple[int, _CollectedTask, str | None]:
    """Return the code of a reply's task, the task, and why the reply is not as it should be.

    It is read as leniently as its bytes allow, because what was collected may not come again.
    """
    answer, invalid = read_fields(reply.content, _COLLECTED, whole=reply.whole)
    if answer.status_code is None:
        raise ProviderError(
            f"the API answered HTTP {reply.status} with something that is not its JSON envelope"
        )
    if not is_success(int(answer.status_code)):
        code = code_and_message(int(answer.status_code), answer.status_message)
        raise ProviderError(f"the API answered {code}")
    if not answer.tasks:
        raise ProviderError("the API answered without a task")
    task = answer.tasks[0]
    if task.status_code is None:
        raise ProviderError("the API answered with a task without a code")
    return int(task.status_code), task, invalid


def _state(code: int) -> State:
    """Return what a task's code means for its result (docs.dataforseo.com/v3/appendix/errors)."""
    if is_success(code) or code in (40101, 40102, 40103):
        return "done"  # here 401xx are final: the task ended without data
    if code in (40601, 40602, 40402):
        return "pending"  # 40402 was seen for a moment on valid paths
    if code == 40403:
        return "lost"
    return "gone" if code in (40401, 40400) else "failed"
