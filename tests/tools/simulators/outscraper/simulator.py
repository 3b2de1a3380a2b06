"""The simulated Outscraper, and what a test can arrange and see."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from aiohttp import web

from tests.tools.simulators.clock import Clock
from tests.tools.simulators.limits import Limit
from tests.tools.simulators.outbox import Outbox
from tests.tools.simulators.outscraper.answers import Answers, Failed, json_answer
from tests.tools.simulators.outscraper.settings import Settings
from tests.tools.simulators.outscraper.state import State
from tests.tools.simulators.outscraper.webhooks import WebhookCall
from tests.tools.simulators.outscraper.work import Outcome
from tests.tools.simulators.server import CODE, Json, Simulator
from tests.tools.simulators.timeline import Timeline

UNAUTHORIZED = (
    "401 Unauthorized: The server could not verify that you are authorized to access the URL "
    "requested. You either supplied the wrong credentials (e.g. a bad password), or your browser "
    "doesn't understand how to supply the credentials required."
)  # S002 [D]


class Outscraper(Simulator):
    """Requests and tasks of one account."""

    def __init__(
        self,
        *,
        settings: Settings | None = None,
        clock: Clock | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        super().__init__(clock=clock, host=host, port=port)
        self.settings = settings or Settings()
        self._timeline = Timeline(self.clock, self.lock)
        self._outbox = Outbox(self.lock)
        self._state = State(
            clock=self.clock,
            lock=self.lock,
            timeline=self._timeline,
            outbox=self._outbox,
            settings=self.settings,
            url=lambda: self.url,
        )
        self._answers = Answers(self._state)
        self._limit = Limit()

    # What a test arranges.

    def submit(self, *queries: str, webhook: str | None = None) -> str:
        """Submit an API request, as `async=true` does; return its id."""
        with self.lock:
            return self._state.submit(*queries, webhook=webhook)

    def create_task(
        self, *, tags: Sequence[str] = (), webhook: str | None = None, **metadata: Any
    ) -> str:
        """Create a platform task; return its id."""
        with self.lock:
            return self._state.create_task(tags=tags, webhook=webhook, **metadata)

    def finish(self, work_id: str, outcome: Outcome = "Success") -> None:
        """Let a request or a task be done."""
        with self.lock:
            self._state.finish(work_id, outcome)

    # What a test sees.

    def data(self, request_id: str) -> list[list[Any]]:
        """Return what a request has found."""
        with self.lock:
            self._timeline.settle()
            return self._state.requests[request_id].data

    def task(self, task_id: str) -> Json:
        """Return a task object."""
        with self.lock:
            self._timeline.settle()
            return self._state.shown(self._state.tasks[task_id])

    def task_ids(self) -> list[str]:
        """Return the tasks that are not deleted."""
        with self.lock:
            return list(self._state.tasks)

    def calls(self, work_id: str | None = None) -> list[WebhookCall]:
        """Return the webhook calls that were made, in the order in which they ended."""
        with self.lock:
            return [one for one in self._state.calls if work_id in (None, one.id)]

    def wait_idle(self, seconds: float = 30.0) -> None:
        """Return as soon as no webhook is left to call; fails when the time is over."""
        with self.lock:
            self._timeline.settle()
        assert self._outbox.wait_idle(seconds), f"still calling after {seconds} s"

    # What the server does.

    def background(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """Call webhooks, and let work come due."""
        return [self._timeline.run, self._outbox.run]

    def family(self, request: web.Request) -> str:
        """Name the family of endpoints that a call belongs to."""
        segments = request.path.strip("/").split("/")
        singular = {"tasks": "task", "requests": "request"}
        if len(segments) == 2 and segments[0] in singular:
            return singular[segments[0]]
        known = ("tasks", "requests", "webhook-calls", "files")
        if segments[0] in known:
            return segments[0]
        if request.path in ("/profile/balance", "/statistics/status"):
            return segments[1]
        return "submit" if "query" in request.query else "other"

    async def answer(self, request: web.Request, family: str, open_calls: int) -> web.Response:
        """Answer a call."""
        body = await request.read()
        with self.lock:
            self._timeline.settle()
            try:
                if family == "files":
                    return self._answers.file(request)  # a plain link, without a key
                self._admit(request)
                return self._answers.dispatch(request, family, body)
            except Failed as failed:
                request[CODE] = failed.http_status
                # §3.7 [D]
                return json_answer({"error": True, "errorMessage": failed.text}, failed.http_status)

    def _admit(self, request: web.Request) -> None:
        # §3.1 [D]: the header, or the query.
        key = request.headers.get("X-API-KEY") or request.query.get("apiKey")
        if key not in self.settings.api_keys:
            raise Failed(401, UNAUTHORIZED)
        if self.settings.payment_required:
            raise Failed(402, "402 Payment Required: past due invoices or too low balance.")
        per_second = self.settings.calls_per_second
        if not self._limit.admits(self.clock.time(), calls_max=per_second, seconds=1.0):
            raise Failed(429, "429 Too Many Requests")
