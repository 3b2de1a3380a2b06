"""The answer of each endpoint (providers.md §3.2, §3.4 to §3.7)."""

from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

from tests.tools.simulators.outscraper.state import State
from tests.tools.simulators.outscraper.work import PlatformTask, Request
from tests.tools.simulators.server import Json


class Failed(Exception):
    """A call that is answered with an error."""

    def __init__(self, http_status: int, text: str) -> None:
        super().__init__(http_status, text)
        self.http_status = http_status
        self.text = text


class Answers:
    """Answers calls about one account; all are called with the simulator's lock held."""

    def __init__(self, state: State) -> None:
        self._state = state

    def dispatch(self, request: web.Request, family: str, body: bytes) -> web.Response:
        """Answer a call."""
        work_id = request.path.rpartition("/")[2]
        answers: dict[tuple[str, str], Callable[[], web.Response]] = {
            ("GET", "tasks"): lambda: self._list_tasks(request),
            ("POST", "tasks"): lambda: self._post_task(body),
            ("GET", "task"): lambda: json_answer(self._state.shown(self._find_task(work_id))),
            ("PUT", "task"): lambda: self._restart(self._find_task(work_id)),
            ("DELETE", "task"): lambda: self._delete(self._find_task(work_id)),
            ("GET", "requests"): lambda: self._list_requests(request),
            ("GET", "request"): lambda: self._show_request(work_id, request),
            ("DELETE", "request"): lambda: self._terminate(work_id),
            ("GET", "webhook-calls"): self._list_calls,
            ("GET", "submit"): lambda: self._submit(request),
            ("GET", "balance"): lambda: json_answer({"account_status": "valid", "balance": 42.5}),
            ("GET", "status"): lambda: json_answer({"status": "ok"}),
        }
        answer = answers.get((request.method, family))
        if answer is None:
            raise Failed(404, "404 Not Found")
        return answer()

    def _list_tasks(self, request: web.Request) -> web.Response:
        # §3.5 [D]: the cursor is the last id that was seen.  Newest first is [I].
        size = _number(request, "pageSize", 10)
        last = request.query.get("lastId")
        if last is not None and last not in self._state.numbers:
            raise Failed(422, "lastId is not a task")
        before = self._state.numbers[last] if last is not None else float("inf")
        tag = request.query.get("query")
        found: list[Json] = []
        for task in reversed(self._state.tasks.values()):
            if task.number >= before or (tag is not None and tag not in task.tags):
                continue
            if len(found) == size:
                return json_answer({"tasks": found, "has_more": True})
            found.append(self._state.shown(task))
        return json_answer({"tasks": found, "has_more": False})

    def _post_task(self, body: bytes) -> web.Response:
        try:
            posted = orjson.loads(body)
        except orjson.JSONDecodeError as exc:
            raise Failed(422, "the body is not JSON") from exc
        if not isinstance(posted, dict) or "service_name" not in posted:
            raise Failed(422, "service_name is required")
        tags = posted.pop("tags", None)
        tags = [tags] if isinstance(tags, str) else tags or []
        return json_answer({"id": self._state.create_task(tags=tags, **posted)})

    def _restart(self, task: PlatformTask) -> web.Response:
        task.status, task.updated_at = "PENDING", self._state.clock.time()
        task.restarts += 1
        self._state.begin(task.id)
        return json_answer("Task restarted")  # §3.5 [D]: a JSON string

    def _delete(self, task: PlatformTask) -> web.Response:
        del self._state.tasks[task.id]
        return json_answer("Task removed")

    def _list_requests(self, request: web.Request) -> web.Response:
        # §3.4 [D]: the latest 100 of the last 24 hours; the usage is text, and there is no status.
        kind = request.query.get("type", "finished")
        if kind not in ("running", "finished"):
            raise Failed(422, "type is running or finished")
        since = self._state.clock.time() - self._state.settings.listed_seconds
        matching: list[Request] = []
        for one in reversed(self._state.requests.values()):
            if len(matching) == self._state.settings.requests_listed_max or one.created_at < since:
                break
            if (one.done_at is None) == (kind == "running"):
                matching.append(one)
        skip, size = _number(request, "skip", 0), _number(request, "pageSize", 20)
        page = matching[skip : skip + size]
        return json_answer([{"id": one.id, "usage": str(one.usage)} for one in page])

    def _show_request(self, request_id: str, call: web.Request) -> web.Response:
        request = self._find_request(request_id)
        if request_id in self._state.settings.refused:
            raise Failed(422, "422 Unprocessable Entity")
        outcome = request.outcome
        now = self._state.clock.time()
        if (
            request.done_at is not None
            and now - request.done_at > self._state.settings.result_seconds
        ):
            outcome = "Pending"  # §3.4 [D]: expired is `Pending` again
        if outcome == "Failure" and self._state.settings.failure_form == "204":
            return web.Response(status=204)
        answer: Json = {"id": request.id, "status": outcome}
        if outcome == "Success":
            flat = call.query.get("flat") == "true"
            joined = [row for rows in request.data for row in rows]
            answer["data"] = joined if flat else request.data
        return json_answer(answer)

    def _terminate(self, request_id: str) -> web.Response:
        self._find_request(request_id)
        del self._state.requests[request_id]
        return json_answer(f"Request {request_id} terminated")

    def _list_calls(self) -> web.Response:
        # §3.6 [D]: the latest 100 that failed, of 24 hours; neither id nor URL.
        since = self._state.clock.time() - self._state.settings.listed_seconds
        failed = [one for one in self._state.calls if not one.success and one.at >= since]
        latest = failed[:-101:-1]
        return json_answer([{"date": int(one.at), "status": one.text} for one in latest])

    def _submit(self, request: web.Request) -> web.Response:
        queries = request.query.getall("query")
        webhook = request.query.get("webhook")
        # §3.2 [D]: `ui`, or a file format, makes it a task.
        if request.query.get("ui") == "true" or "format" in request.query:
            return json_answer(
                {"id": self._state.create_task(queries=queries, webhook=webhook)}, 202
            )
        request_id = self._state.submit(*queries, webhook=webhook)
        if request.query.get("async", "true") == "false":
            self._state.finish(request_id)
            return self._show_request(request_id, request)
        location = f"{self._state.results_base()}/requests/{request_id}"
        accepted = {"id": request_id, "status": "Pending", "results_location": location}
        return json_answer(accepted, 202)

    def file(self, request: web.Request) -> web.Response:
        """Return a file of results."""
        task_id = request.path.rpartition("/")[2].removesuffix(".json")
        task = self._state.tasks.get(task_id)
        if task is None or task.status != "SUCCESS":
            raise Failed(404, "404 Not Found")
        return json_answer([{"query": "bars ny usa", "name": f"Bar {task_id}"}])

    def _find_task(self, task_id: str) -> PlatformTask:
        if task_id not in self._state.tasks:
            raise Failed(404, "404 Not Found: no such task")  # [?] not documented
        return self._state.tasks[task_id]

    def _find_request(self, request_id: str) -> Request:
        if request_id not in self._state.requests:
            raise Failed(404, "404 Not Found: no such request")  # [?] not documented
        return self._state.requests[request_id]


def _number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not text.isdigit():
        raise Failed(422, f"{name} is not a number")
    return int(text)


def json_answer(body: Any, status: int = 200) -> web.Response:
    """Return JSON."""
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")
