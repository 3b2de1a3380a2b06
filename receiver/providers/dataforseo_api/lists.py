"""Lists: finished tasks, failed calls, all tasks of a period."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from receiver.errors import ProviderError
from receiver.providers.conversation import Call, Conversation
from receiver.providers.dataforseo_api.answer import read_results, read_rows, text_or_none
from receiver.providers.lenient_rows import Rows

# The APIs that list finished tasks, `/v3/{api}/…/tasks_ready`.
APIS = (
    "serp",
    "merchant",
    "app_data",
    "business_data",
    "on_page",
    "keywords_data",
    "ai_optimization",
)
_LIST_MAX = 1000
# A longer list would not fit into memory.
_PAGES_MAX = 1000
# Where to collect a result: a path, or a URL on one of the API's hosts, of which only the path is
# used.
_ENDPOINT = re.compile(
    r"(?:https://(?:api|sandbox)\.(?:dataforseo|dataforapps)\.com/|/)?(v3/[^?#\s]+?)/?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A finished task that nobody has collected."""

    task_id: str
    tag: str | None
    posted_at: str | None
    # The paths of its result by datatype; the datatype is "" where there is only one.
    endpoints: Mapping[str, str]

    def best(self) -> str:
        """Return the most complete datatype: advanced, regular, the only one, html, unknown."""
        order = ("advanced", "regular", "", "json", "summary", "html", *sorted(self.endpoints))
        return next(datatype for datatype in order if datatype in self.endpoints)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyList:
    """A list of finished tasks.

    ``unreadable`` holds the tags of rows of an unknown form, ``odd`` what rows that are not even
    JSON say of themselves.
    """

    tasks: Sequence[Ready]
    unreadable: Sequence[str | None]
    odd: Sequence[Mapping[str, str]] = ()

    @property
    def is_full(self) -> bool:
        """Whether there may be more tasks than it shows."""
        return len(self.tasks) + len(self.unreadable) + len(self.odd) >= _LIST_MAX


def tasks_ready(family: str) -> Conversation[ReadyList]:
    """List at most a thousand finished tasks of a family.

    The list has no pages and covers three days (docs.dataforseo.com/v3/serp/tasks_ready).
    """
    reply = yield Call(path=f"/v3/{family}/tasks_ready", family="tasks_ready")
    tasks: list[Ready] = []
    unreadable: list[str | None] = []
    rows = read_results(reply)
    for row in rows:
        task = _ready(row, family) if isinstance(row, dict) else None
        if task is not None:
            tasks.append(task)
        else:
            unreadable.append(text_or_none(row.get("tag")) if isinstance(row, dict) else None)
    return ReadyList(tasks=tasks, unreadable=unreadable, odd=tuple(rows.odd))


def errors(api: str, function: str, *, since: str, until: str) -> Conversation[Rows]:
    """List an API's failed calls of one function, all pages.

    They are kept for seven days, according to older pages for one
    (docs.dataforseo.com/v3/serp/errors).
    """
    query = {"filtered_function": function, "datetime_from": since, "datetime_to": until}
    return (yield from _pages(f"/v3/{api}/errors", query))


def id_list(api: str, *, since: str, until: str) -> Conversation[Rows]:
    """List an API's tasks of at most a month with the parameters they were posted with, all pages.

    It includes unfinished, failed and live tasks (docs.dataforseo.com/v3/serp/id_list).
    """
    query = {
        "sort": "asc",
        "include_metadata": True,
        "datetime_from": since,
        "datetime_to": until,
    }
    return (yield from _pages(f"/v3/{api}/id_list", query, family="id_list"))


def _pages(path: str, query: Mapping[str, Any], *, family: str = "general") -> Conversation[Rows]:
    """List the rows of all pages.

    A page without a new row is the last one, too: `offset` may have been ignored.
    """
    found = Rows()
    seen: set[int] = set()
    for _ in range(_PAGES_MAX):
        page = {"limit": _LIST_MAX, "offset": len(found) + len(found.odd), **query}
        rows = read_rows((yield Call(path=path, method="POST", json=[page], family=family)))
        known = len(seen)
        seen.update(hash(repr(row)) for row in (*rows, *rows.odd))
        if len(seen) == known:
            return found
        found.extend(rows)
        found.odd.extend(rows.odd)
        if len(rows) + len(rows.odd) < _LIST_MAX:
            return found
    raise ProviderError(f"{path} has more than {_PAGES_MAX} pages; ask for a shorter period")


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
        tag=text_or_none(row.get("tag")),
        posted_at=text_or_none(row.get("date_posted")),
        endpoints=endpoints,
    )


def _path(value: object, task_id: str) -> str | None:
    """Return the path of an endpoint, None if it must not be used.

    An endpoint is the provider's text: it must stay on this API and name this task.  A sample in
    the docs shows an endpoint of another task.
    """
    found = _ENDPOINT.fullmatch(value) if isinstance(value, str) else None
    if found is None or ".." in found[1] or not found[1].endswith(f"/{task_id}"):
        return None
    return f"/{found[1]}"
