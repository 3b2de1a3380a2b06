"""The answer of each endpoint (providers.md §1.7 to §1.15).

Each method gets the path's segments and the body, and returns the `tasks` of the envelope, or
raises `Refusal` for the call as a whole.  All are called with the simulator's lock held.
"""

from typing import Any

from tests.tools.simulators.dataforseo import appendix
from tests.tools.simulators.dataforseo.catalogue import (
    APIS_WITH_ERRORS,
    APIS_WITH_ID_LIST,
    FUNCTIONS,
    READY_LISTS,
)
from tests.tools.simulators.dataforseo.dates import moment_of, text_of
from tests.tools.simulators.dataforseo.envelope import Refusal, entry, message
from tests.tools.simulators.dataforseo.lists import call_error, ready_entry
from tests.tools.simulators.dataforseo.posting import objection, read_array
from tests.tools.simulators.dataforseo.settings import DAY_SECONDS
from tests.tools.simulators.dataforseo.state import State
from tests.tools.simulators.dataforseo.tasks import Task
from tests.tools.simulators.server import Json

OFFSET_MAX = 100_000_000  # §1.11, §1.12 [D]
PAGE_MAX = 1000  # §1.11, §1.12 [D]
MONTH_SECONDS = 31 * DAY_SECONDS


class Answers:
    """Answers calls about one account."""

    def __init__(self, state: State, status: appendix.ServiceStatus) -> None:
        self._state = state
        self._status = status

    def task_post(self, segments: list[str], body: bytes) -> list[Json]:
        """Take tasks (§1.4)."""
        function = FUNCTIONS.get("/".join(segments[1:-1]))
        if function is None:
            raise Refusal(40402)
        settings = self._state.settings
        answers = []
        for posted in read_array(body, objects_max=settings.tasks_per_post_max):
            refused = objection(function, posted)
            if refused:
                code, detail = refused
                answers.append(self._entry(segments, posted, code=code, detail=detail))
                continue
            task = self._state.post(function, posted)
            answers.append(
                entry(
                    task.id,
                    path=segments,
                    posted=task.data("task_post"),
                    code=20100,
                    cost=task.cost,
                )
            )
        return answers

    def tasks_ready(self, segments: list[str]) -> list[Json]:
        """List what is ready (§1.7 to §1.9); `result` is null where nothing is."""
        name = "/".join(segments[1:-1])
        if name not in READY_LISTS:
            raise Refusal(40402)
        state = self._state
        page = state.ready.page(name, now=state.clock.time(), settings=state.settings)
        posted: Json = {"api": segments[1], "function": "tasks_ready"}
        if len(segments) == 5:
            posted |= {"se": segments[2], "se_type": segments[3]}
        result = [ready_entry(task, state.settings) for task in page]
        return [self._entry(segments, posted, result=result)]

    def task_get(self, segments: list[str]) -> list[Json]:
        """Return a result (§1.10)."""
        place = segments.index("task_get")
        path, rest = "/".join(segments[1:place]), segments[place + 1 :]
        function = FUNCTIONS.get(path)
        datatype = rest[0] if len(rest) == 2 else None
        if function is None or len(rest) not in (1, 2) or path == "on_page":
            raise Refusal(40402)
        if datatype not in (function.datatypes or (None,)):
            raise Refusal(40402)
        task = self._state.tasks.get(rest[-1])
        code = self._why_not(task, path=path, datatype=datatype)
        posted = (
            {"api": segments[1], "function": "task_get"} if task is None else task.data("task_get")
        )
        if code is not None:
            self._note_error(segments, rest[-1], code)
            return [entry(rest[-1], path=segments, posted=posted, code=code)]
        assert task is not None
        self._state.collect(task)
        result = self._state.result(task, datatype)
        return [entry(task.id, path=segments, posted=posted, code=task.status, result=result)]

    def summary(self, segments: list[str]) -> list[Json]:
        """Return the summary of a crawl, running or finished (§1.10)."""
        task = self._state.tasks.get(segments[-1])
        code = self._why_not(task, path="on_page", datatype=None, unfinished=True)
        if code is not None:
            return [
                entry(
                    segments[-1],
                    path=segments,
                    posted={"api": "on_page", "function": "summary"},
                    code=code,
                )
            ]
        assert task is not None
        if task.done_at is not None:
            self._state.collect(task)
        result = self._state.result(task, None)
        return [
            entry(
                task.id, path=segments, posted=task.data("summary"), code=task.status, result=result
            )
        ]

    def force_stop(self, segments: list[str], body: bytes) -> list[Json]:
        """Stop crawls (§1.15)."""
        answers = []
        for posted in read_array(body, objects_max=self._state.settings.force_stop_max):
            task_id = str(posted.get("id"))
            task = self._state.tasks.get(task_id)
            data = {"api": "on_page", "function": "force_stop"} | posted
            code = 20000
            if task is None or task.function.path != "on_page":
                code = 40401
            else:
                self._state.force_stop(task)
            answers.append(entry(task_id, path=segments, posted=data, code=code))
        return answers

    def webhook_resend(self, segments: list[str], body: bytes) -> list[Json]:
        """Queue the callbacks of tasks again, to the URLs they were posted with (§1.13)."""
        answers = []
        for posted in read_array(body, objects_max=self._state.settings.resend_max):
            task_id = str(posted.get("id"))
            task = self._state.tasks.get(task_id)
            code = self._why_not(task, path=None, datatype=task.postback_datatype if task else None)
            data = posted if task is None else task.data("task_post")
            if code is None:
                assert task is not None
                # A task without a URL cannot be sent anywhere; its code is not documented.
                code = 20100 if self._state.call_back(task, resent=True) else 40501
            answers.append(entry(task_id, path=segments, posted=data, code=code))
        return answers

    def errors(self, segments: list[str], body: bytes) -> list[Json]:
        """List errors of the last days (§1.11); every field of the request is optional."""
        if segments[1] not in APIS_WITH_ERRORS:
            raise Refusal(40402)
        posted = read_array(body, objects_max=1)[0] if body.strip() else {}
        data = {"api": segments[1], "function": "errors"} | posted
        state = self._state
        now = state.clock.time()
        oldest = now - state.settings.errors_seconds
        try:
            limit, offset = _page(posted)
            start, end = _span(posted, oldest, now + 1)
        except ValueError as exc:
            return [self._entry(segments, data, code=40501, detail=str(exc))]
        if start < oldest - 1:  # dates are whole seconds
            if state.settings.errors_window_strict:
                return [self._entry(segments, data, code=40501, detail="datetime_from")]
            start = oldest
        result = state.errors.page(
            segments[1],
            function=posted.get("filtered_function"),
            start=start,
            end=end,
            limit=limit,
            offset=offset,
            newest_first=state.settings.errors_newest_first,
        )
        return [self._entry(segments, data, result=result)]

    def id_list(self, segments: list[str], body: bytes) -> list[Json]:
        """List the tasks that were posted in a span of time (§1.12)."""
        if segments[1] not in APIS_WITH_ID_LIST:
            raise Refusal(40402)
        posted = read_array(body, objects_max=1)[0]
        data = {"api": segments[1], "function": "id_list"} | posted
        with_metadata = posted.get("include_metadata") is True
        # §1.12 [D]: six months back, one month with metadata.
        oldest = self._state.clock.time() - (1 if with_metadata else 6) * MONTH_SECONDS
        try:
            limit, offset = _page(posted)
            start, end = (
                moment_of(posted.get("datetime_from")),
                moment_of(posted.get("datetime_to")),
            )
            if start < oldest or end < start:
                raise ValueError("datetime_from")
            if posted.get("sort", "asc") not in ("asc", "desc"):
                raise ValueError("sort")
        except ValueError as exc:
            return [self._entry(segments, data, code=40501, detail=str(exc))]
        tasks = self._state.tasks.between(segments[1], start, end)
        if posted.get("sort") == "desc":
            tasks.reverse()
        page = [self._listed(task, with_metadata) for task in tasks[offset : offset + limit]]
        return [self._entry(segments, data, result=page)]

    def appendix(self, segments: list[str], name: str) -> list[Json]:
        """Return the state of the service, the account, or the table of codes (§1.14)."""
        results: dict[str, list[Any]] = {
            "status": self._status.result(),
            "user_data": [appendix.user_data(self._state.settings)],
            "errors": appendix.codes(),
        }
        posted = {"api": "appendix", "function": name}
        return [self._entry(segments, posted, result=results[name])]

    def _entry(self, segments: list[str], posted: Json, **rest: Any) -> Json:
        """Return an entry about the call itself, which has an id of its own."""
        new_id = self._state.tasks.new_id(self._state.clock.time())
        return entry(new_id, path=segments, posted=posted, **rest)

    def _why_not(
        self, task: Task | None, *, path: str | None, datatype: str | None, unfinished: bool = False
    ) -> int | None:
        """Return the code of a task that has no result to give, or None."""
        if task is None or task.live:
            return 40401  # §1.10 [D]; Live results are not stored
        if not task.ours:
            return 40001
        if path is not None and task.function.path != path:
            return _mismatch(task, path)
        settings, now = self._state.settings, self._state.clock.time()
        task.asked += 1
        if task.asked <= settings.invalid_path_times:
            return 40402  # §1.10 [C]: seen for a moment right after a valid task_post
        if task.done_at is None:
            if unfinished:
                return None
            # §1.10 [D]: handed first, then in the queue.
            return 40601 if now - task.posted_at < settings.handed_seconds else 40602
        kept = settings.html_seconds if datatype == "html" else settings.result_seconds
        return 40403 if now - task.done_at > kept else None

    def _note_error(self, segments: list[str], task_id: str, code: int) -> None:
        if code in (40601, 40602):
            return  # pending is no error
        now = self._state.clock.time()
        function = "/".join(segments[1:-1])
        noted = call_error(
            task_id,
            at=now,
            function=function,
            code=code,
            text=message(code),
            url="/" + "/".join(segments),
        )
        self._state.errors.add(segments[1], now, noted)

    def _listed(self, task: Task, with_metadata: bool) -> Json:
        verb = "live/advanced" if task.live else "task_post"
        pending = task.done_at is None
        return {
            "id": task.id,
            "url": f"v3/{task.function.path}/{verb}",  # §1.12: no leading slash in the sample
            "datetime_posted": text_of(task.posted_at),
            "datetime_done": None if task.done_at is None else text_of(task.done_at),
            "status": str(40602 if pending else task.status),  # §1.12 [D] TP: a code, as a string
            "cost": task.cost,
            "metadata": task.data("live" if task.live else "task_post") if with_metadata else None,
        }


def _mismatch(task: Task, path: str) -> int:
    # §1.16 [D]: 40002 another engine, 40003 another type, 40004 another function.
    asked = FUNCTIONS[path]
    if asked.api != task.function.api:
        return 40004
    return 40002 if asked.se != task.function.se else 40003


def _page(posted: Json) -> tuple[int, int]:
    limit, offset = posted.get("limit", PAGE_MAX), posted.get("offset", 0)
    for name, value, least, most in (
        ("limit", limit, 1, PAGE_MAX),
        ("offset", offset, 0, OFFSET_MAX),
    ):
        if not isinstance(value, int) or not least <= value <= most:
            raise ValueError(name)
    return limit, offset


def _span(posted: Json, start: float, end: float) -> tuple[float, float]:
    if "datetime_from" in posted:
        start = moment_of(posted["datetime_from"])
    if "datetime_to" in posted:
        end = moment_of(posted["datetime_to"])
    if end <= start:
        raise ValueError("datetime_to")  # §1.11 [D]: to > from
    return start, end
