"""Conversations with Outscraper's API (its OpenAPI description 0.4.3)."""

from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

import msgspec

from receiver.errors import ProviderError
from receiver.providers.conversation import Call, CallPolicy, Conversation, Reply, Verdict

_PAGE = 100


def _judge(reply: Reply) -> Verdict:
    if reply.status == 429:
        return "busy"
    return "failed" if reply.status >= 500 else "final"


# The API allows about 20 requests per second on average.
POLICY = CallPolicy(
    calls_per_minute={"general": 900},
    calls_per_second=15.0,
    simultaneous=10,
    busy_seconds=15.0,
    judge=_judge,
)


class Gone(ProviderError):
    """The request or task does not exist, or was deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A request's result, or why there is none; ``Pending`` may mean that the result expired."""

    status: Literal["Success", "Pending", "Failure"]
    reply: Reply


def finished_requests() -> Conversation[list[str]]:
    """Return the ids of the finished requests of the last 24 hours, page by page."""
    found: list[str] = []
    while True:
        query = {"type": "finished", "skip": str(len(found)), "pageSize": str(_PAGE)}
        rows = _rows(_answer((yield Call(path="/requests", query=query))), "requests")
        ids = [row["id"] for row in rows if isinstance(row.get("id"), str)]
        fresh = [request_id for request_id in ids if request_id not in found]
        found.extend(fresh)
        if len(ids) < _PAGE or not fresh:
            return found


def request(request_id: str) -> Conversation[Fetched]:
    """Fetch a request's result.  After four hours it has expired and is `Pending` again."""
    reply = yield Call(path=f"/requests/{quote(request_id, safe='')}")
    if reply.status == 204:
        return Fetched(status="Failure", reply=reply)
    answer = _answer(reply)
    status = answer.get("status") if isinstance(answer, dict) else None
    if status not in ("Success", "Pending", "Failure"):
        raise ProviderError(f"outscraper gave request {request_id} an unknown status")
    return Fetched(status=status, reply=reply)


def tasks(*, most: int, query: str | None = None) -> Conversation[list[dict[str, Any]]]:
    """Return at most this many tasks, newest first, page by page."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        asked = {"pageSize": str(min(_PAGE, most)), **cursor} | ({"query": query} if query else {})
        answer = _answer((yield Call(path="/tasks", query=asked)))
        rows = _rows(answer, "tasks")
        found.extend(rows)
        last = rows[-1].get("id") if rows else None
        if isinstance(answer, list) or not answer.get("has_more") or not last:
            return found[:most]
        if len(found) >= most or cursor.get("lastId") == last:
            return found[:most]
        cursor = {"lastId": str(last)}


def task(task_id: str) -> Conversation[Reply]:
    """Return one task."""
    return (yield from _task("GET", task_id))


def restart(task_id: str) -> Conversation[Reply]:
    """Run a task again, which is charged again."""
    return (yield from _task("PUT", task_id))


def terminate(task_id: str) -> Conversation[Reply]:
    """Remove a task."""
    return (yield from _task("DELETE", task_id))


def webhook_calls() -> Conversation[list[dict[str, Any]]]:
    """Return the last hundred failed webhook calls of 24 hours; they have no ids."""
    return _rows(_answer((yield Call(path="/webhook-calls"))), "data")


def _task(method: str, task_id: str) -> Conversation[Reply]:
    path = f"/tasks/{quote(task_id, safe='')}"
    reply = yield Call(path=path, method=method, once=method != "GET")
    _answer(reply)
    return reply


def _rows(answer: Any, name: str) -> list[dict[str, Any]]:
    """Return the rows of a list, which may be a field of an object."""
    rows = answer.get(name) if isinstance(answer, dict) else answer
    if not isinstance(rows, list):
        raise ProviderError("outscraper answered JSON of an unknown shape")
    return [row for row in rows if isinstance(row, dict)]


def _answer(reply: Reply) -> Any:
    try:
        answer = msgspec.json.decode(reply.content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise ProviderError(
            f"outscraper answered HTTP {reply.status} with something that is not JSON"
        ) from exc
    message = answer.get("errorMessage") if isinstance(answer, dict) else None
    if reply.status >= 400 or message:
        kind = Gone if reply.status == 404 else ProviderError
        raise kind(f"outscraper answered HTTP {reply.status}: {message or 'no reason'}")
    return answer
