"""Requests, tasks and webhook calls of an account; every method needs the simulator's lock."""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from tests.tools.simulators.clock import Clock
from tests.tools.simulators.outbox import Outbox
from tests.tools.simulators.outscraper.settings import Settings
from tests.tools.simulators.outscraper.webhooks import WebhookCall, call, request_body, task_body
from tests.tools.simulators.outscraper.work import Ids, Outcome, PlatformTask, Request
from tests.tools.simulators.server import Json
from tests.tools.simulators.timeline import Timeline


class State:
    """One account."""

    def __init__(
        self,
        *,
        clock: Clock,
        lock: threading.RLock,
        timeline: Timeline,
        outbox: Outbox,
        settings: Settings,
        url: Callable[[], str],
    ) -> None:
        self.clock = clock
        self.settings = settings
        self._lock = lock
        self.requests: dict[str, Request] = {}
        self.tasks: dict[str, PlatformTask] = {}
        # Where a task that was deleted had its place in the list: cursors outlive tasks.
        self.numbers: dict[str, int] = {}
        self.calls: list[WebhookCall] = []
        self._ids = Ids()
        self._timeline = timeline
        self._outbox = outbox
        self._url = url

    def submit(self, *queries: str, webhook: str | None = None) -> str:
        """Submit an API request, as `async=true` does; return its id."""
        request = Request(
            self._ids.request_id(), list(queries) or ["bars ny usa"], self.clock.time(), webhook
        )
        self.requests[request.id] = request
        self.begin(request.id)
        return request.id

    def create_task(
        self, *, tags: Sequence[str] = (), webhook: str | None = None, **metadata: Any
    ) -> str:
        """Create a platform task; return its id."""
        now = self.clock.time()
        task_id, number = self._ids.task_id(now)
        defaults = {"service_name": "google_maps_service_v2", "queries": ["bars ny usa"]}
        self.tasks[task_id] = PlatformTask(
            task_id,
            number,
            now,
            now,
            defaults | metadata,
            list(tags),
            webhook,
            self._ids.request_id(),
        )
        self.numbers[task_id] = number
        self.begin(task_id)
        return task_id

    def finish(self, work_id: str, outcome: Outcome = "Success") -> None:
        """Let a request or a task be done."""
        if work_id in self.requests:
            self._finish_request(self.requests[work_id], outcome)
        else:
            self._finish_task(self.tasks[work_id], outcome)

    def begin(self, work_id: str) -> None:
        """Let work be done after the time that is set."""
        after = self.settings.finish_after_seconds
        if after is not None:
            self._timeline.at(self.clock.time() + after, lambda: self._due(work_id))

    def _due(self, work_id: str) -> None:
        if work_id in self.requests or work_id in self.tasks:
            self.finish(work_id)

    def _finish_request(self, request: Request, outcome: Outcome) -> None:
        if request.done_at is not None:
            return
        request.finish(self.clock.time(), outcome)
        body = request_body(
            request, user_id=self.settings.user_id, results_base=self.results_base()
        )
        self._notify(request.id, request.webhook, body)

    def _finish_task(self, task: PlatformTask, outcome: Outcome) -> None:
        if task.status != "PENDING":
            return
        task.status, task.updated_at = outcome.upper(), self.clock.time()
        body = task_body(task, user_id=self.settings.user_id, results_base=self.results_base())
        self._notify(task.id, task.webhook, body)

    def _notify(self, work_id: str, webhook: str | None, body: bytes) -> None:
        url = webhook or self.settings.webhook
        if url:
            self._outbox.put(partial(self._call, work_id, url, body))

    async def _call(self, work_id: str, url: str, body: bytes) -> None:
        settings = self.settings
        for _ in range(1 + settings.webhook_retries):
            key = settings.api_keys[0] if settings.signed else None
            code, error = await call(url, body, key=key, seconds=settings.webhook_seconds)
            made = WebhookCall(
                id=work_id, url=url, body=body, at=self.clock.time(), http_code=code, error=error
            )
            with self._lock:
                self.calls.append(made)
            if made.success:
                return

    def results_base(self) -> str:
        """Return what `results_location` begins with."""
        return self.settings.results_base or self._url()

    def shown(self, task: PlatformTask) -> Json:
        """Return a task object."""
        return task.shown(user_id=self.settings.user_id, file_base=self._url())
