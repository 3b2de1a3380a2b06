"""Conversations with Outscraper's API (its OpenAPI description 0.4.3)."""

import re
from dataclasses import dataclass
from typing import Any, Literal, cast
from urllib.parse import quote

import msgspec

from receiver.errors import ProviderError
from receiver.providers.conversation import Call, CallPolicy, Conversation, Reply, Verdict
from receiver.providers.fields import ODD_TEXT, read_fields, text_of
from receiver.providers.lenient_rows import Rows, read_rows

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
    # Why the reply is not the request's result, though it says so; it is kept all the same.
    problem: str | None = None


def finished_requests() -> Conversation[Rows]:
    """Return the ids of the finished requests of the last 24 hours, page by page."""
    found = Rows()
    while True:
        query = {"type": "finished", "skip": str(len(found) + len(found.odd))}
        query["pageSize"] = str(_PAGE)
        _, rows = _list((yield Call(path="/requests", query=query)), "requests")
        ids = [row["id"] for row in rows if isinstance(row.get("id"), str)]
        fresh = [request_id for request_id in ids if request_id not in found]
        found.extend(fresh)
        found.odd.extend(rows.odd)
        if len(ids) + len(rows.odd) < _PAGE or not fresh:
            return found


def request(request_id: str) -> Conversation[Fetched]:
    """Fetch a request's result.  After four hours it has expired and is `Pending` again."""
    reply = yield Call(path=f"/requests/{quote(request_id, safe='')}")
    if reply.status == 204:
        return Fetched(status="Failure", reply=reply)
    read, problem = _read_kept(reply, f"request {request_id}", request_id)
    if read.status not in ("Success", "Pending", "Failure"):
        raise ProviderError(f"outscraper gave request {request_id} an unknown status")
    status = cast(Literal["Success", "Pending", "Failure"], read.status)
    return Fetched(status=status, reply=reply, problem=problem)


def tasks(*, most: int, query: str | None = None) -> Conversation[Rows]:
    """Return at most this many tasks, newest first, page by page."""
    found = Rows()
    cursor: dict[str, str] = {}
    while True:
        asked = {"pageSize": str(min(_PAGE, most)), **cursor} | ({"query": query} if query else {})
        has_more, rows = _list((yield Call(path="/tasks", query=asked)), "tasks")
        found.extend(rows)
        found.odd.extend(rows.odd)
        last = rows[-1].get("id") if rows else None
        if not has_more or not last or len(found) >= most or cursor.get("lastId") == last:
            return Rows(found[:most], found.odd)
        cursor = {"lastId": str(last)}


def task(task_id: str) -> Conversation[Reply]:
    """Return one task."""
    return (yield from _task("GET", task_id))


def finished_task(task_id: str) -> Conversation[tuple[Reply, str | None]]:
    """Return a task's result, and why the reply is not that, though it says so."""
    reply = yield Call(path=f"/tasks/{quote(task_id, safe='')}")
    _, problem = _read_kept(reply, f"task {task_id}", task_id)
    return reply, problem


def restart(task_id: str) -> Conversation[Reply]:
    """Run a task again, which is charged again."""
    return (yield from _task("PUT", task_id))


def terminate(task_id: str) -> Conversation[Reply]:
    """Remove a task."""
    return (yield from _task("DELETE", task_id))


def webhook_calls() -> Conversation[Rows]:
    """Return the last hundred failed webhook calls of 24 hours; they have no ids."""
    return _list((yield Call(path="/webhook-calls")), "data")[1]


def _task(method: str, task_id: str) -> Conversation[Reply]:
    path = f"/tasks/{quote(task_id, safe='')}"
    reply = yield Call(path=path, method=method, once=method != "GET")
    _answer(reply)
    return reply


def _list(reply: Reply, name: str) -> tuple[bool, Rows]:
    """Return whether a list has more, and its rows, which may be a field of an object.

    Where a strict parser refuses it, its rows are read one by one.
    """
    try:
        msgspec.json.decode(reply.content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        rows = None
        if reply.status < 400:
            rows = read_rows(reply.content, name)
            rows = read_rows(reply.content, None) if rows is None else rows
        if rows is not None:
            has_more = re.search(rb'"has_more"\s*:\s*true', reply.content) is not None
            return has_more, Rows((row for row in rows if isinstance(row, dict)), rows.odd)
    answer = _answer(reply)
    found = answer.get(name) if isinstance(answer, dict) else answer
    if not isinstance(found, list):
        raise ProviderError("outscraper answered JSON of an unknown shape")
    has_more = isinstance(answer, dict) and bool(answer.get("has_more"))
    return has_more, Rows(row for row in found if isinstance(row, dict))


class _Kept(msgspec.Struct):
    id: str | int | float | None = None
    status: str | None = None
    errorMessage: str | None = None


_KEPT = msgspec.json.Decoder(_Kept)


def _read_kept(reply: Reply, what: str, asked: str) -> tuple[_Kept, str | None]:
    """Return what a result says of itself, and why it is not what was asked for.

    It is read as leniently as its bytes allow, because it may not come again.
    """
    read, invalid = read_fields(reply.content, _KEPT, whole=reply.whole)
    if reply.status >= 400 or read.errorMessage or read.status is None:
        _answer(reply)
        raise ProviderError(f"outscraper gave {what} an unknown status")
    if invalid not in (None, ODD_TEXT):
        return read, f"what came is not JSON to its end ({invalid})"
    found = text_of(read.id)
    return read, f"what came is of another task, {found}" if found not in (None, asked) else None


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
