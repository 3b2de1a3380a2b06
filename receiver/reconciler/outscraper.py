"""The sweep of Outscraper.

A webhook says only that a result exists, and a request's result is kept for four hours.  So the
result of every finished request and task that the archive lacks is fetched, whether the provider
lists it or a webhook named it.  A request that is `Pending` again has expired.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from receiver import clock
from receiver.errors import ProviderError
from receiver.providers import outscraper_api as api
from receiver.providers.conversation import Reply
from receiver.reconciler.history import SweepHistory
from receiver.reconciler.journal import MissingTask
from receiver.reconciler.report import Repair
from receiver.reconciler.sweep_run import Fetch, SweepRun

_RESULTS = ("result",)
_AT_ONCE = 8
_TASKS_MAX = 500
_KEPT_HOURS = 4
_WEBHOOK_DAYS = 2
_DONE = {"SUCCESS", "FAILURE", "FAILED", "ERROR"}


@dataclass(slots=True, kw_only=True)
class OutscraperSweep:
    """Sweeps the requests and tasks of one account."""

    grace_seconds: float
    history: SweepHistory = field(default_factory=SweepHistory)

    async def __call__(self, run: SweepRun) -> None:
        """Sweep once."""
        left_over = await run.left_over(kinds=_RESULTS)
        finished = await self._finished(run)
        held = await run.held(finished, kinds=_RESULTS)
        run.report.held = len(held)
        settled = held | self.history.lost.keys() | {task.task_id for task in left_over}
        left_over = self.history.order(left_over)[: run.tasks_max]
        # The oldest notification expires first; a request that is only listed may be as old.
        new = self.history.order(task for task in finished.values() if task.task_id not in settled)
        new = new[: run.tasks_max - len(left_over)]
        await run.record(new)
        fetch = _fetch(run)
        await run.fetch_left_over(left_over, fetch, at_once=_AT_ONCE)
        refusal: ProviderError | None = None
        try:
            await run.fetch_all(new, fetch, at_once=_AT_ONCE)
        except ProviderError as exc:
            refusal = exc  # raised once the failed webhook calls are reported
        await _report_failed_webhooks(run)
        if refusal is not None:
            raise refusal

    async def _finished(self, run: SweepRun) -> dict[str, MissingTask]:
        """Return everything finished, by id: listed requests and tasks, and what webhooks named."""
        notified = await _notified(run)
        requests = await run.caller.hold(api.finished_requests())
        tasks = await run.caller.hold(api.tasks(most=_TASKS_MAX))
        run.report.listed = len(requests) + len(tasks)
        for name, rows in (("requests", requests), ("tasks", tasks)):
            run.report.alarms.extend(f"{name}: {alarm}" for alarm in rows.alarms)
        finished: dict[str, MissingTask] = {}
        for request_id in requests:
            finished.setdefault(request_id, _request(request_id, notified.get(request_id)))
        for row in tasks:
            task = self._task(run, row, notified)
            if task is not None:
                finished.setdefault(task.task_id, task)
        for request_id, at_us in notified.items():
            # A request's id is a UUID, a task's has no hyphens.
            if "-" in request_id:
                finished.setdefault(request_id, _request(request_id, at_us))
        return finished

    def _task(
        self, run: SweepRun, row: dict[str, Any], notified: Mapping[str, int]
    ) -> MissingTask | None:
        """Return a listed task if it is finished and old enough."""
        task_id, status = str(row.get("id") or ""), str(row.get("status") or "").upper()
        updated_us = _read_time(row.get("updated"))
        if not task_id or status not in _DONE:
            return None
        if updated_us is not None and (clock.now_us() - updated_us) / 1e6 < self.grace_seconds:
            run.report.young += 1
            return None
        return MissingTask(
            task_id=task_id,
            path=f"/tasks/{task_id}",
            since_us=updated_us,
            notified=task_id in notified,
        )


async def _notified(run: SweepRun) -> dict[str, int]:
    """Return when the webhooks of the last days came, by the id that they named."""
    since = datetime.now(UTC) - timedelta(days=_WEBHOOK_DAYS)
    arrivals = await asyncio.to_thread(
        run.catalog.arrivals,
        run.provider,
        kind="webhook",
        since=clock.rfc3339(int(since.timestamp() * 1e6)),
    )
    moments = {task_id: _read_time(text) for task_id, text in arrivals.items()}
    return {task_id: moment for task_id, moment in moments.items() if moment is not None}


def _fetch(run: SweepRun) -> Fetch:
    async def fetch(task: MissingTask) -> Repair:
        try:
            if task.path.startswith("/tasks/"):
                return await store(task, *await run.caller.hold(api.finished_task(task.task_id)))
            fetched = await run.caller.hold(api.request(task.task_id))
        except api.Gone as exc:
            return run.repair(task, "lost", detail=str(exc))
        if fetched.status != "Pending":
            return await store(task, fetched.reply, fetched.problem)
        # What a webhook or a list called finished is pending again once its result has expired.
        expired = (task.missing_seconds or 0) > _KEPT_HOURS * 3600
        if expired or not task.notified:
            return run.repair(task, "lost", detail="pending again: its result has expired")
        return run.repair(task, "pending", detail="still pending")

    async def store(task: MissingTask, reply: Reply, problem: str | None) -> Repair:
        await asyncio.to_thread(
            run.sink.put,
            provider=run.provider,
            kind="result",
            target=task.path,
            headers=reply.headers,
            body=reply.wire,
        )
        if problem is not None:
            return run.repair(task, "failed", detail=f"stored, but {problem}")
        return run.repair(task, "collected" if task.notified else "repaired")

    return fetch


async def _report_failed_webhooks(run: SweepRun) -> None:
    """Raise an alarm for failed webhook calls, which have times and codes but no ids."""
    failed = await run.caller.hold(api.webhook_calls())
    if failed:
        dates = [row["date"] for row in failed if isinstance(row.get("date"), int)]
        at = clock.rfc3339(max(dates) * 1_000_000) if dates else "an unknown time"
        status = failed[0].get("status")
        run.report.alarms.append(
            f"{len(failed)} webhook calls failed in 24 hours, the last at {at}: {status}"
        )


def _request(request_id: str, notified_us: int | None) -> MissingTask:
    return MissingTask(
        task_id=request_id,
        path=f"/requests/{request_id}",
        since_us=notified_us,
        notified=notified_us is not None,
    )


def _read_time(text: object) -> int | None:
    """Return a time in microseconds; without a zone it is taken as UTC."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return int(moment.timestamp() * 1e6)
    except ValueError:
        return None
