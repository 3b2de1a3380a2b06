"""The sweep of Outscraper.

A webhook only says that there is something; the result of a request is kept for four hours.  So
every finished request and every task of which the archive has no result is fetched: what the
provider lists, and what its webhooks named.  A request that says `Pending` again has expired.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from receiver import clock
from receiver.errors import ProviderError
from receiver.providers import outscraper_api as api
from receiver.providers.conversation import Reply
from receiver.reconciler.memory import Memory
from receiver.reconciler.report import Repair
from receiver.reconciler.sweep_run import SweepRun
from receiver.reconciler.unfinished import Wanted

_RESULTS = ("result",)
_AT_ONCE = 8
_TASKS_MAX = 500
_KEPT_HOURS = 4
_DONE = {"SUCCESS", "FAILURE", "FAILED", "ERROR"}


@dataclass(slots=True, kw_only=True)
class OutscraperSweep:
    """Sweeps the requests and tasks of one account; call it with a session."""

    grace_seconds: float
    memory: Memory = field(default_factory=Memory)

    async def __call__(self, session: SweepRun) -> None:
        """Sweep once."""
        earlier = await session.unfinished(kinds=_RESULTS)
        told = await self._told(session)
        fetch = self._fetch(session)
        requests = await session.caller.hold(api.finished_requests())
        tasks = await session.caller.hold(api.tasks(most=_TASKS_MAX))
        session.report.listed = len(requests) + len(tasks)
        wanted: dict[str, Wanted] = {}
        for request_id in requests:
            wanted.setdefault(request_id, _request(request_id, told.get(request_id)))
        for row in tasks:
            task = self._task(session, row, told)
            if task is not None:
                wanted.setdefault(task.task_id, task)
        for task_id, at_us in told.items():
            if "-" in task_id:
                wanted.setdefault(task_id, _request(task_id, at_us))
        held = await session.held(wanted, kinds=_RESULTS)
        session.report.held = len(held)
        settled = held | self.memory.lost.keys() | {task.task_id for task in earlier}
        # What was told of longest ago is lost first; what is only listed may be as old as that.
        earlier = self.memory.order(earlier)[: session.tasks_max]
        new = self.memory.order(task for task in wanted.values() if task.task_id not in settled)
        new = new[: session.tasks_max - len(earlier)]
        await session.remember(new)
        await session.each_of_earlier(earlier, fetch, at_once=_AT_ONCE)
        refusal: ProviderError | None = None
        try:
            await session.each(new, fetch, at_once=_AT_ONCE)
        except ProviderError as exc:
            refusal = exc  # and the failed webhook calls are worth a look all the same
        await self._alarm(session)
        if refusal is not None:
            raise refusal

    async def _told(self, session: SweepRun) -> dict[str, int]:
        """Return when the webhooks of the last days came, by the id they named."""
        since = datetime.now(UTC) - timedelta(days=2)
        arrivals = await asyncio.to_thread(
            session.catalog.arrivals,
            session.provider,
            kind="webhook",
            since=clock.rfc3339(int(since.timestamp() * 1e6)),
        )
        moments = {task_id: _read_time(text) for task_id, text in arrivals.items()}
        return {task_id: moment for task_id, moment in moments.items() if moment is not None}

    def _task(self, session: SweepRun, row: dict[str, Any], told: dict[str, int]) -> Wanted | None:
        task_id, status = str(row.get("id") or ""), str(row.get("status") or "").upper()
        updated = _read_time(row.get("updated"))
        if not task_id or status not in _DONE:
            return None
        if updated is not None and (clock.now_us() - updated) / 1e6 < self.grace_seconds:
            session.report.young += 1
            return None
        return Wanted(
            task_id=task_id, path=f"/tasks/{task_id}", since_us=updated, told=task_id in told
        )

    def _fetch(self, session: SweepRun) -> Callable[[Wanted], Any]:
        async def fetch(task: Wanted) -> Repair:
            try:
                return await get(task)
            except api.Gone as exc:
                return session.repair(task, "lost", detail=str(exc))

        async def get(task: Wanted) -> Repair:
            if task.path.startswith("/tasks/"):
                reply = await session.caller.hold(api.task(task.task_id))
                return await _keep(session, task, reply)
            fetched = await session.caller.hold(api.request(task.task_id))
            if fetched.status == "Pending":
                late = (task.missing_seconds or 0) > _KEPT_HOURS * 3600
                listed = "finished, and pending again: its four hours are over"
                outcome = "lost" if late or not task.told else "pending"
                return session.repair(task, outcome, detail=listed)
            return await _keep(session, task, fetched.reply)

        return fetch

    async def _alarm(self, session: SweepRun) -> None:
        """Look at the failed webhook calls: they have times and codes, and no ids."""
        failed = await session.caller.hold(api.webhook_calls())
        if failed:
            dates = [row["date"] for row in failed if isinstance(row.get("date"), int)]
            at = clock.rfc3339(max(dates) * 1_000_000) if dates else "an unknown time"
            status = failed[0].get("status")
            session.report.alarms.append(
                f"{len(failed)} webhook calls failed in 24 hours, the last at {at}: {status}"
            )


async def _keep(session: SweepRun, task: Wanted, reply: Reply) -> Repair:
    await asyncio.to_thread(
        session.sink.put,
        provider=session.provider,
        kind="result",
        target=task.path,
        headers=reply.headers,
        body=reply.wire,
    )
    return session.repair(task, "collected" if task.told else "repaired")


def _request(request_id: str, told_us: int | None) -> Wanted:
    return Wanted(
        task_id=request_id,
        path=f"/requests/{request_id}",
        since_us=told_us,
        told=told_us is not None,
    )


def _read_time(text: object) -> int | None:
    """Read a time; one without a zone is taken as UTC."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return int(moment.timestamp() * 1e6)
    except ValueError:
        return None
