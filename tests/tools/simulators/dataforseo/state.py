"""What happens to tasks at the provider: posted, finished, delivered, listed, collected.

    posted ─▶ done ─┬─ postback_url ─▶ delivered          (never listed)
                    │                 └▶ failed ─▶ listed, and in /errors
                    ├─ pingback_url ─▶ listed, delivered or not; failed ones in /errors
                    └─ neither ──────▶ listed
    listed ─▶ collected with task_get, or three days old ─▶ off the list

Every method must be called with the simulator's lock held.
"""

import threading
from collections.abc import Mapping
from typing import Any

from tests.tools.simulators.clock import Clock
from tests.tools.simulators.dataforseo.catalogue import Function
from tests.tools.simulators.dataforseo.delivery import Delivered, Deliveries, Parameter, Webhook
from tests.tools.simulators.dataforseo.lists import Errors, ReadyLists, webhook_error
from tests.tools.simulators.dataforseo.results import result_of
from tests.tools.simulators.dataforseo.settings import Settings
from tests.tools.simulators.dataforseo.tasks import Task, Tasks
from tests.tools.simulators.server import Json
from tests.tools.simulators.timeline import Timeline


class State:
    """One account."""

    def __init__(self, *, clock: Clock, lock: threading.RLock, settings: Settings) -> None:
        self.clock = clock
        self.settings = settings
        self.tasks = Tasks()
        self.ready = ReadyLists()
        self.errors = Errors()
        self.timeline = Timeline(clock, lock)
        self.deliveries = Deliveries(clock=clock, lock=lock, settings=settings, ended=self._ended)

    def post(self, function: Function, posted: Json) -> Task:
        """Take a task."""
        now = self.clock.time()
        task = Task(
            id=self.tasks.new_id(now),
            function=function,
            posted=posted,
            posted_at=now,
            # §1.5 [D] HC: the delay is taken at the moment the task is set.
            webhook_delay_ms=self.settings.webhook_delay_ms,
        )
        self.tasks.add(task)
        if self.settings.finish_after_seconds is not None:
            due = now + self.settings.finish_after_seconds
            self.timeline.at(due, lambda: self.finish(task))
        return task

    def finish(
        self,
        task: Task,
        *,
        status: int = 20000,
        results: Mapping[str | None, list[Any]] | None = None,
    ) -> None:
        """End a task; the second end of one does nothing."""
        if task.done_at is not None:
            return
        task.done_at = self.clock.time()
        task.status = status
        task.results.update(results or {})
        has_postback = "postback_url" in task.posted
        # §1.8 [D]: with a postback_url a task is not listed unless the request failed.
        if not has_postback or self.settings.listed_before_delivery:
            self.list_task(task)
        self.call_back(task)

    def call_back(self, task: Task, *, resent: bool = False) -> bool:
        """Queue the callbacks that a task was posted with; False if it has none."""
        # §1.3 [C]: a task may carry both URLs.
        parameters: tuple[Parameter, ...] = ("postback_url", "pingback_url")
        webhooks = [
            Webhook(task=task, parameter=parameter, resent=resent)
            for parameter in parameters
            if parameter in task.posted
            and not (task.force_stopped and not self._pings_when_stopped())
        ]
        for webhook in webhooks:
            self.deliveries.enqueue(webhook)
        return bool(webhooks)

    def force_stop(self, task: Task) -> None:
        """Stop a crawl; what it has read stays readable (§1.15 [D])."""
        if task.done_at is None:
            task.force_stopped = True
            self.finish(task)

    def list_task(self, task: Task) -> None:
        """Show a task on its lists, after the small delay (§1.8 [D])."""

        def show() -> None:
            if task.collected_at is None:
                self.ready.add(task)

        delay = self.settings.list_delay_seconds
        if delay > 0:
            self.timeline.at(self.clock.time() + delay, show)
        else:
            show()

    def collect(self, task: Task) -> None:
        """Note that a result was read; the first time takes the task off the lists (§1.10 [D])."""
        if task.collected_at is None:
            task.collected_at = self.clock.time()
        self.ready.remove(task)

    def result(self, task: Task, datatype: str | None) -> list[Any] | None:
        """Return what a task found."""
        return result_of(task, datatype, result_bytes=self.settings.result_bytes)

    def _pings_when_stopped(self) -> bool:
        return self.settings.pingback_after_force_stop

    def _ended(self, webhook: Webhook, delivered: Delivered) -> None:
        if delivered.success:
            self._succeeded(webhook)
            return
        self.errors.add(
            webhook.task.function.api,
            delivered.at,
            webhook_error(
                webhook.task,
                at=delivered.at,
                parameter=webhook.parameter,
                method=delivered.method,
                url=delivered.url,
                http_code=delivered.http_code,
                http_seconds=delivered.http_seconds,
                http_response=delivered.http_response,
                error_code=self.settings.webhook_error_code,
            ),
        )
        if webhook.attempt < self.settings.delivery_retries:
            self.deliveries.enqueue(
                Webhook(
                    task=webhook.task,
                    parameter=webhook.parameter,
                    attempt=webhook.attempt + 1,
                    resent=webhook.resent,
                )
            )
        # §1.5 [D]: transferred to tasks_ready.  §1.8: by another official text it is not.
        elif self.settings.failed_postbacks_listed and webhook.task.collected_at is None:
            self.list_task(webhook.task)

    def _succeeded(self, webhook: Webhook) -> None:
        if webhook.parameter != "postback_url":
            return  # §1.2 [D] HC: stays listed until collected, whether the pingback worked or not
        if webhook.resent and not self.settings.resend_unlists:
            return
        self.ready.remove(webhook.task)
