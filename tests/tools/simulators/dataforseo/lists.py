"""The lists of an account: tasks that are ready, and errors.

Reading a list costs what its page costs, however long the list is: fifty thousand ready tasks
are no slower than fifty.
"""

from bisect import bisect_left
from collections import OrderedDict
from typing import Any

from tests.tools.simulators.dataforseo.dates import text_of
from tests.tools.simulators.dataforseo.settings import Settings
from tests.tools.simulators.dataforseo.tasks import Task
from tests.tools.simulators.server import Json


class ReadyLists:
    """tasks_ready: API-wide and per function, from done until collected (providers.md §1.8)."""

    def __init__(self) -> None:
        self._lists: dict[str, OrderedDict[str, Task]] = {}

    def add(self, task: Task) -> None:
        """Show a task on its lists; one that is there stays where it is."""
        for name in task.function.lists:
            self._lists.setdefault(name, OrderedDict()).setdefault(task.id, task)

    def remove(self, task: Task) -> None:
        """Take a task off its lists."""
        for name in task.function.lists:
            self._lists.get(name, OrderedDict()).pop(task.id, None)

    def holds(self, task: Task) -> bool:
        """Say whether a task is listed."""
        return task.id in self._lists.get(task.function.path, ())

    def count(self, name: str) -> int:
        """Return the length of a list, with entries that have expired since it was last read."""
        return len(self._lists.get(name, ()))

    def page(self, name: str, *, now: float, settings: Settings) -> list[Task]:
        """Return the first tasks of a list: there is no paging (§1.8 [D] HC)."""
        page: list[Task] = []
        expired: list[Task] = []
        for task in self._lists.get(name, OrderedDict()).values():
            if len(page) == settings.ready_max:
                break
            # §1.8 [D]: not collected within three days, a task disappears from the list.
            gone = task.done_at is not None and now - task.done_at > settings.ready_seconds
            (expired if gone else page).append(task)
        for task in expired:
            self.remove(task)
        return page


def ready_entry(task: Task, settings: Settings) -> Json:
    """Return a task as its tasks_ready list shows it (providers.md §1.9 [D])."""
    known: Json = {
        "id": task.id,
        "se": task.function.se,
        "se_type": task.function.se_type,
        "function": task.function.se_type,
        "target": task.posted.get("target"),
        "date_posted": text_of(task.posted_at),
        # §1.9 [D]: the samples show an empty text where no tag was set.
        "tag": task.tag or "",
    }
    entry: Json = {}
    for name in task.function.ready_fields:
        if name.startswith("endpoint"):
            entry[name] = _endpoint(task, name.removeprefix("endpoint").strip("_"), settings)
        else:
            entry[name] = known[name]
    return entry


def _endpoint(task: Task, datatype: str, settings: Settings) -> str | None:
    function = task.function
    if datatype and datatype not in function.datatypes:
        return None  # §1.9 [D]: null where that datatype does not exist
    endpoint = function.endpoint(datatype or function.main_datatype, task.id)
    return settings.forge_endpoint(endpoint) if settings.forge_endpoint else endpoint


class Errors:
    """What ``/v3/{api}/errors`` tells: failed webhooks, and calls that went wrong."""

    def __init__(self) -> None:
        self._times: dict[str, list[float]] = {}
        self._entries: dict[str, list[Json]] = {}

    def add(self, api: str, at: float, entry: Json) -> None:
        """Note an error under its API and its function."""
        for name in (api, f"{api} {entry['function']}"):
            times = self._times.setdefault(name, [])
            place = len(times) if not times or times[-1] <= at else bisect_left(times, at)
            times.insert(place, at)
            self._entries.setdefault(name, []).insert(place, entry)

    def page(
        self,
        api: str,
        *,
        function: str | None,
        start: float,
        end: float,
        limit: int,
        offset: int,
        newest_first: bool,
    ) -> list[Json]:
        """Return a page of the errors within a span of time, both ends included."""
        name = api if function is None else f"{api} {function}"
        times = self._times.get(name, [])
        first, last = bisect_left(times, start), bisect_left(times, end + 1e-6)
        entries = self._entries.get(name, [])
        if newest_first:
            last = max(first, last - offset)
            return entries[max(first, last - limit) : last][::-1]
        return entries[first + offset : min(last, first + offset + limit)]


def webhook_error(
    task: Task,
    *,
    at: float,
    parameter: str,
    method: str,
    url: str,
    http_code: int,
    http_seconds: float,
    http_response: str,
    error_code: int,
) -> Json:
    """Return a failed webhook as ``/errors`` shows it (providers.md §1.11 [D])."""
    entry: dict[str, Any] = {
        "id": task.id,
        "datetime": text_of(at),
        "function": parameter,
        "error_code": error_code,
        # §1.11 [D]: "message, or URL that caused the error"; for webhooks it is the URL.
        "error_message": url,
        "http_url": url,
        "http_method": method,
        "http_code": http_code,
        "http_time": round(http_seconds, 4),
        "http_response": http_response,
    }
    return entry


def call_error(task_id: str, *, at: float, function: str, code: int, text: str, url: str) -> Json:
    """Return a call that was answered with an error as ``/errors`` shows it."""
    return {
        "id": task_id,
        "datetime": text_of(at),
        "function": function,
        "error_code": code,
        "error_message": text,
        "http_url": url,
        "http_method": "GET",
        "http_code": 200,
        "http_time": 0.05,
        "http_response": "",
    }
