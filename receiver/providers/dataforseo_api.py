"""Conversations with DataForSEO's and DataForApps' API v3.

Success is judged by `tasks[].status_code`, never by HTTP: nearly everything is HTTP 200
(docs.dataforseo.com/v3/appendix/errors).
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, Literal

import msgspec

from receiver.errors import ProviderError
from receiver.providers.conversation import Call, Conversation, Reply, Verdict

LIST_MAX = 1000
# A list that is longer would not fit into memory.
_PAGES_MAX = 1000
# Those that have lists of finished tasks, `/v3/{api}/…/tasks_ready`.
APIS = (
    "serp",
    "merchant",
    "app_data",
    "business_data",
    "on_page",
    "keywords_data",
    "ai_optimization",
)
_TIME = "%Y-%m-%d %H:%M:%S +00:00"
RESEND_MAX = 100
FORCE_STOP_MAX = 1000


class _Task(msgspec.Struct):
    id: str | None = None
    status_code: int | None = None
    status_message: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")
    result: msgspec.Raw = msgspec.Raw(b"null")


class _Envelope(msgspec.Struct):
    status_code: int
    status_message: str | None = None
    tasks: list[_Task] | None = None


class _Codes(msgspec.Struct):
    id: str | None = None
    status_code: int | None = None


class _Head(msgspec.Struct):
    status_code: int | None = None
    tasks: list[_Codes] | None = None


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_HEAD = msgspec.json.Decoder(_Head)
_RESULT = re.compile(rb'(?<!\\)"result"\s*:')
# Where a result stands: a path, or a URL of one of the hosts of the API, of which the path is used.
_ENDPOINT = re.compile(
    r"(?:https://(?:api|sandbox)\.(?:dataforseo|dataforapps)\.com/|/)?(v3/[^?#\s]+?)/?"
)
# Too many calls a minute; too many at once.
_BUSY = (40202, 40209)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiManners:
    """What the API allows (docs.dataforseo.com/v3, "Rate limits"; the pages of each list)."""

    calls_per_minute: Mapping[str, int] = field(
        default_factory=lambda: {"general": 1900, "tasks_ready": 20, "status": 10, "id_list": 10}
    )
    calls_per_second: float | None = None
    # 30 are allowed; the rest is for the user's own programs.
    simultaneous: int = 20
    # The limits are counted by the minute.
    busy_seconds: float = 60.0

    def judge(self, reply: Reply) -> Verdict:
        """Read the code of the envelope; what has none stands, for a conversation to refuse."""
        if reply.status == 429:
            return "busy"
        if reply.status >= 500:
            return "failed"
        head = _head(reply)
        code = head.status_code
        # Both stand in the envelope, or in its only task.
        alone = head.tasks[0].status_code if head.tasks and len(head.tasks) == 1 else None
        if code in _BUSY or alone in _BUSY:
            return "busy"
        return "failed" if code is not None and 50000 <= code < 60000 else "stands"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A finished task that nobody has collected."""

    task_id: str
    tag: str | None
    posted_at: str | None
    # Where its result can be collected, by datatype; "" where there is only one.
    endpoints: Mapping[str, str]

    def best(self) -> str:
        """Return the datatype that says most: advanced, regular, the only one, html, unknown."""
        order = ("advanced", "regular", "", "json", "summary", "html", *sorted(self.endpoints))
        return next(datatype for datatype in order if datatype in self.endpoints)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyList:
    """A list of finished tasks; ``strange`` has the tags of the rows that were not understood."""

    tasks: Sequence[Ready]
    strange: Sequence[str | None]

    @property
    def is_full(self) -> bool:
        """Whether there may be more than it shows."""
        return len(self.tasks) + len(self.strange) >= LIST_MAX


State = Literal["done", "pending", "lost", "gone", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What collecting a task came to; ``reply`` is its result if ``state`` is done."""

    state: State
    detail: str
    reply: Reply
    # The datatype that its postback was to carry, where it was posted with one.
    wanted: str | None


def tasks_ready(family: str) -> Conversation[ReadyList]:
    """List at most a thousand finished tasks of a family.

    The list has no pages and holds three days (docs.dataforseo.com/v3/serp/tasks_ready).
    """
    reply = yield Call(path=f"/v3/{family}/tasks_ready", family="tasks_ready")
    tasks: list[Ready] = []
    strange: list[str | None] = []
    for row in _listed(reply):
        task = _ready(row, family) if isinstance(row, dict) else None
        if task is not None:
            tasks.append(task)
        else:
            strange.append(_text(row.get("tag")) if isinstance(row, dict) else None)
    return ReadyList(tasks=tasks, strange=strange)


def task_get(path: str) -> Conversation[Collected]:
    """Collect one task.  The first collection takes it off its list; collecting again is free."""
    reply = yield Call(path=path)
    task, code, message = _first_task(reply)
    detail = f"{code} {message}".strip()
    return Collected(
        state=_state(code), detail=detail, reply=reply, wanted=_wanted(task) if task else None
    )


def errors(
    api: str, function: str, *, since: str, until: str
) -> Conversation[list[Mapping[str, Any]]]:
    """List an API's failed calls of one function, all pages.

    Seven days are kept, one by older pages (docs.dataforseo.com/v3/serp/errors).
    """
    query = {"filtered_function": function, "datetime_from": since, "datetime_to": until}
    return (yield from _pages(f"/v3/{api}/errors", query))


def id_list(api: str, *, since: str, until: str) -> Conversation[list[Mapping[str, Any]]]:
    """List an API's tasks of at most a month with what they were posted with, all pages.

    Unfinished, failed and live ones are among them (docs.dataforseo.com/v3/serp/id_list).
    """
    query = {
        "sort": "asc",
        "include_metadata": True,
        "datetime_from": since,
        "datetime_to": until,
    }
    return (yield from _pages(f"/v3/{api}/id_list", query, family="id_list"))


def webhook_resend(ids: Sequence[str]) -> Conversation[dict[str, str]]:
    """Ask for the webhooks of at most a hundred tasks again; return what was said of each."""
    return (yield from _each("/v3/appendix/webhook_resend", ids, most=RESEND_MAX))


def force_stop(ids: Sequence[str]) -> Conversation[dict[str, str]]:
    """Stop at most a thousand OnPage crawls; return what was said of each."""
    return (yield from _each("/v3/on_page/force_stop", ids, most=FORCE_STOP_MAX))


def status() -> Conversation[list[Mapping[str, Any]]]:
    """Return the state of each API and endpoint (docs.dataforseo.com/v3/appendix/status)."""
    reply = yield Call(path="/v3/appendix/status", family="status")
    return list(_rows(reply))


def user_data() -> Conversation[Mapping[str, Any]]:
    """Return what the account is; the cheapest way to try credentials."""
    reply = yield Call(path="/v3/appendix/user_data")
    rows = _rows(reply)
    return rows[0] if rows else {}


def write_time(moment: datetime) -> str:
    """Return a moment in UTC as the API writes it."""
    return moment.strftime(_TIME)


def read_time(text: object) -> datetime | None:
    """Return the moment of a text of the API, None for what is none."""
    if not isinstance(text, str):
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S %z")
    except ValueError:
        return None


def batches(ids: Iterable[str], most: int) -> Iterator[list[str]]:
    """Split ids to a limit."""
    remaining = iter(ids)
    while batch := list(islice(remaining, most)):
        yield batch


def _pages(
    path: str, query: Mapping[str, Any], *, family: str = "general"
) -> Conversation[list[Mapping[str, Any]]]:
    """List the rows of all pages.

    A page that has no new row is the last one, too: `offset` may have been ignored.
    """
    found: list[Mapping[str, Any]] = []
    seen: set[int] = set()
    for _ in range(_PAGES_MAX):
        page = {"limit": LIST_MAX, "offset": len(found), **query}
        rows = _rows((yield Call(path=path, method="POST", json=[page], family=family)))
        known = len(seen)
        seen.update(hash(repr(row)) for row in rows)
        if len(seen) == known:
            return found
        found.extend(rows)
        if len(rows) < LIST_MAX:
            return found
    raise ProviderError(f"{path} has more than {_PAGES_MAX} pages; ask for a shorter time")


def _each(path: str, ids: Sequence[str], *, most: int) -> Conversation[dict[str, str]]:
    assert len(ids) <= most
    reply = yield Call(path=path, method="POST", json=[{"id": task_id} for task_id in ids])
    envelope = _envelope(reply)
    answers = envelope.tasks or []
    said = {}
    for position, task_id in enumerate(ids):
        # In order, and by id where the answer repeats it.
        answer = next(
            (task for task in answers if task.id == task_id),
            answers[position] if position < len(answers) else None,
        )
        if answer is None:
            said[task_id] = f"{envelope.status_code} {envelope.status_message or ''}".strip()
        else:
            said[task_id] = f"{answer.status_code} {answer.status_message or ''}".strip()
    return said


def _head(reply: Reply) -> _Head:
    try:
        return _HEAD.decode(_beginning(reply))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _Head()


def _beginning(reply: Reply) -> bytes:
    found = _RESULT.search(reply.content)
    return reply.content[: found.end()] + b"null}]}" if found else reply.content


def _envelope(reply: Reply) -> _Envelope:
    try:
        envelope = _ENVELOPE.decode(reply.content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise ProviderError(
            f"the API answered HTTP {reply.status} with something that is not its JSON envelope"
        ) from exc
    if not 20000 <= envelope.status_code < 30000:
        raise ProviderError(
            f"the API answered {envelope.status_code} {envelope.status_message or ''}".strip()
        )
    return envelope


def _rows(reply: Reply) -> list[Mapping[str, Any]]:
    """Return the result rows of all tasks that are objects."""
    return [row for row in _listed(reply) if isinstance(row, dict)]


def _listed(reply: Reply) -> list[Any]:
    """Return the results of all tasks; null means none."""
    rows: list[Any] = []
    for task in _envelope(reply).tasks or ():
        if task.status_code is not None and not 20000 <= task.status_code < 30000:
            raise ProviderError(f"the API answered {task.status_code} {task.status_message or ''}")
        try:
            result = msgspec.json.decode(task.result)
        except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
            raise ProviderError("the API answered a result that is not JSON") from exc
        if not isinstance(result, list | None):
            raise ProviderError("the API answered a result of an unknown shape")
        rows.extend(result or ())
    return rows


def _ready(row: Mapping[str, Any], family: str) -> Ready | None:
    task_id = row.get("id")
    if not isinstance(task_id, str) or not task_id:
        return None
    endpoints = {
        name.removeprefix("endpoint").removeprefix("_"): path
        for name, value in row.items()
        if name.startswith("endpoint") and (path := _path(value, task_id)) is not None
    }
    if family == "on_page" and not any(name.startswith("endpoint") for name in row):
        endpoints = {"summary": f"/v3/on_page/summary/{task_id}"}
    if not endpoints:
        return None
    return Ready(
        task_id=task_id,
        tag=_text(row.get("tag")),
        posted_at=_text(row.get("date_posted")),
        endpoints=endpoints,
    )


def _path(value: object, task_id: str) -> str | None:
    """Return the path that an endpoint means, None for one that must not be used.

    Remote text: it must stay on this API and mean this task; a sample of the docs shows an
    endpoint with another id.
    """
    found = _ENDPOINT.fullmatch(value) if isinstance(value, str) else None
    if found is None or ".." in found[1] or not found[1].endswith(f"/{task_id}"):
        return None
    return f"/{found[1]}"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _first_task(reply: Reply) -> tuple[_Task | None, int, str]:
    if not reply.whole:
        # A result too large to be read whole: the codes stand before it.
        head = _HEAD.decode(_beginning(reply))
        first = head.tasks[0] if head.tasks else None
        return None, (first.status_code if first else head.status_code) or 0, ""
    envelope = _envelope(reply)
    if not envelope.tasks:
        raise ProviderError("the API answered without a task")
    task = envelope.tasks[0]
    return task, task.status_code or 0, task.status_message or ""


def _state(code: int) -> State:
    """Say what a task's code means for its result (docs.dataforseo.com/v3/appendix/errors)."""
    if 20000 <= code < 30000 or code in (40101, 40102, 40103):
        return "done"  # 401xx here: final and without data, which is an answer too
    if code in (40601, 40602, 40402):
        return "pending"  # 40402 was seen for a moment on good paths
    if code == 40403:
        return "lost"
    return "gone" if code in (40401, 40400) else "failed"


def _wanted(task: _Task) -> str | None:
    try:
        data = msgspec.json.decode(task.data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    wanted = data.get("postback_data") if isinstance(data, dict) else None
    return wanted if isinstance(wanted, str) else None
