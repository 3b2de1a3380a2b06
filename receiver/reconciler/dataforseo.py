"""The sweep of DataForSEO and DataForApps.

`tasks_ready` lists tasks that are finished and were never collected: those whose postback failed,
and those with only a pingback.  `/errors` says why, and has tasks that the list has dropped; their
postbacks are requested again with `webhook_resend`.
"""

import asyncio
import fnmatch
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from receiver.errors import ProviderError
from receiver.providers import dataforseo_api as api
from receiver.providers.lenient_rows import name_of
from receiver.reconciler.dataforseo_failures import Failures, failed_deliveries, reason
from receiver.reconciler.history import SweepHistory
from receiver.reconciler.journal import MissingTask
from receiver.reconciler.report import Repair, TaskOutcome
from receiver.reconciler.sweep_run import Fetch, SweepRun

_log = logging.getLogger(__name__)

_RESULTS = ("postback", "result")
_NOTIFICATIONS = ("pingback",)
_AT_ONCE = 20
_RESEND_AGAIN = timedelta(hours=1)
_DELAYED = {"webhook_delay", "send_delay", "major_outage", "partial_outage"}
# While the provider reports that its webhooks are late, tasks are given more time.
_DELAYED_GRACE_FACTOR = 6


@dataclass(slots=True, kw_only=True)
class DataForSeoSweep:
    """Sweeps the families of one account."""

    families: Sequence[str]
    # The pattern of our tags.
    tags: str
    # A callback URL that contains one of these is ours.
    own_urls: Sequence[str]
    grace_seconds: float
    # When each task's postback was requested again, within the last hour.
    resent: dict[str, datetime] = field(default_factory=dict)
    history: SweepHistory = field(default_factory=SweepHistory)

    async def __call__(self, run: SweepRun) -> None:
        """Sweep once."""
        left_over = self.history.order(await run.left_over(kinds=_RESULTS))
        await run.fetch_left_over(left_over, _fetch(run), at_once=_AT_ONCE)
        grace = await self._grace(run)
        failures = await failed_deliveries(run, self.families, self.own_urls)
        tried = {task.task_id for task in left_over}
        refusals = []
        for family in self.families:
            try:
                tried |= await self._sweep_family(run, family, failures, grace, tried)
            except ProviderError as exc:
                # The account may have no right to this family; the others are swept anyway.
                run.report.alarms.append(f"{family}: {exc}")
                refusals.append(exc)
        if refusals and len(refusals) == len(self.families):
            raise refusals[0]
        await self._resend(run, failures, tried, grace)

    async def _grace(self, run: SweepRun) -> timedelta:
        """Return how old a task must be to count as missing."""
        grace = timedelta(seconds=self.grace_seconds)
        for row in await run.caller.hold(api.status()):
            for endpoint in row.get("endpoints") or ():
                if not isinstance(endpoint, dict):
                    continue
                late = endpoint.get("status") in _DELAYED
                if late and "back" in str(endpoint.get("endpoint")):
                    _log.warning(
                        "provider's webhooks are late",
                        extra={"api": row.get("api"), "status": endpoint.get("status")},
                    )
                    return grace * _DELAYED_GRACE_FACTOR
        return grace

    async def _sweep_family(
        self,
        run: SweepRun,
        family: str,
        failures: Failures,
        grace: timedelta,
        tried_before: Collection[str],
    ) -> set[str]:
        """Collect a family's list until it shows nothing more to collect; return what was tried."""
        tried = set(tried_before)
        while True:
            await run.check()
            ready = await run.caller.hold(api.tasks_ready(family))
            fresh = [task for task in ready.tasks if task.task_id not in tried]
            run.report.listed += len(fresh)
            missing = await self._select(run, fresh, failures, grace, clear=ready.is_full)
            tried |= {task.task_id for task in fresh}
            room = run.tasks_max - len(run.report.repairs)
            missing = missing[: max(0, room)]
            await run.record(missing)
            await run.fetch_all(missing, _fetch(run), at_once=_AT_ONCE)
            if not ready.is_full or not missing or run.dry_run:
                run.report.alarms.extend(f"{family}: {alarm}" for alarm in self._alarms(ready))
                return tried

    def _alarms(self, ready: api.ReadyList) -> Iterator[str]:
        """Yield why a list may hide tasks from the sweep."""
        unreadable = sum(1 for tag in ready.unreadable if self._is_ours(tag))
        if unreadable:
            yield f"{unreadable} rows of tasks_ready were not understood"
        for row in ready.odd:
            if "tag" not in row or self._is_ours(row["tag"]):
                yield f"a row of tasks_ready cannot be read: {name_of(row)}"
        if ready.is_full and not any(self._is_ours(task.tag) for task in ready.tasks):
            # The list has no pages: tasks behind these thousand cannot be seen.
            yield "the list is full and none of its tasks is ours"

    def _is_ours(self, tag: str | None) -> bool:
        return fnmatch.fnmatchcase(tag or "", self.tags)

    async def _select(
        self,
        run: SweepRun,
        ready: Sequence[api.Ready],
        failures: Failures,
        grace: timedelta,
        *,
        clear: bool,
    ) -> list[MissingTask]:
        """Return the tasks that are ours, old enough and not held, in the order to try them.

        To ``clear`` a full list, held tasks are collected, too: otherwise they would take the room
        of others for three days.
        """
        report = run.report
        newest = datetime.now(UTC) - grace
        ids = [task.task_id for task in ready]
        held = await run.held(ids, kinds=_RESULTS)
        notified = await run.held(ids, kinds=_NOTIFICATIONS)
        missing = []
        for task in ready:
            posted = api.read_time(task.posted_at)
            failure = failures.get(task.task_id)
            if not self._is_ours(task.tag):
                report.foreign += 1
            elif task.task_id in self.history.lost:
                continue
            elif task.task_id in held:
                report.held += 1
                if clear:
                    # Its callback came, so collecting it is not a repair.
                    missing.append(_to_collect(task, posted, failure, notified=True))
            elif posted is not None and posted > newest and failure is None:
                report.young += 1
            else:
                is_notified = task.task_id in notified
                missing.append(_to_collect(task, posted, failure, notified=is_notified))
        return self.history.order(missing)

    async def _resend(
        self, run: SweepRun, failures: Failures, tried: set[str], grace: timedelta
    ) -> None:
        """Request the failed deliveries again of which no list has the task any more."""
        now = datetime.now(UTC)
        recently = now - _RESEND_AGAIN
        self.resent = {task_id: at for task_id, at in self.resent.items() if at >= recently}
        settled = tried | self.history.lost.keys() | self.resent.keys()
        held = await run.held(failures, kinds=_RESULTS)
        notified = await run.held(failures, kinds=_NOTIFICATIONS)
        missing = []
        for task_id, row in failures.items():
            if task_id in held or (task_id in notified and row.get("function") == "pingback_url"):
                continue
            failed_at = api.read_time(row.get("datetime"))
            waited = failed_at is None or failed_at < now - grace
            if waited and task_id not in settled:
                missing.append(_to_resend(task_id, row))
        by_id = {task.task_id: task for task in missing}
        for batch in api.batches(by_id, api.RESEND_MAX):
            await run.check()
            answers = {} if run.dry_run else await run.caller.hold(api.webhook_resend(batch))
            for task_id in batch:
                self.resent[task_id] = now
                answer = answers.get(task_id, "")
                outcome = "wanted" if run.dry_run else _resend_outcome(answer)
                run.report.add(run.repair(by_id[task_id], outcome, detail=answer or None))


_OUTCOMES: Mapping[str, TaskOutcome] = {"pending": "pending", "lost": "lost", "gone": "lost"}


def _fetch(run: SweepRun) -> Fetch:
    """Return what collects one task into the spool."""

    async def fetch(task: MissingTask) -> Repair:
        collected = await run.caller.hold(api.task_get(task.path))
        other = (task.endpoints or {}).get(collected.postback_data or "")
        if collected.state == "done" and other is not None and other != task.path:
            # The datatype that the postback would have carried is preferred.
            better = await run.caller.hold(api.task_get(other))
            # It may have expired sooner: html is kept for a week, the rest for a month.
            if better.state not in ("lost", "gone"):
                task, collected = msgspec.structs.replace(task, path=other), better
        if collected.state != "done":
            outcome = _OUTCOMES.get(collected.state, "failed")
            return run.repair(task, outcome, detail=collected.detail)
        await asyncio.to_thread(
            run.sink.put,
            provider=run.provider,
            kind="result",
            target=task.path,
            headers=collected.reply.headers,
            body=collected.reply.wire,
        )
        if collected.problem is not None:
            return run.repair(task, "failed", detail=f"stored, but {collected.problem}")
        return run.repair(task, "collected" if task.notified else "repaired")

    return fetch


def _resend_outcome(answer: str) -> TaskOutcome:
    """Return the outcome that an answer of `webhook_resend` means."""
    if answer.startswith("20"):
        return "resent"
    return "lost" if answer[:5] in ("40401", "40403") else "failed"


def _to_collect(
    task: api.Ready,
    posted: datetime | None,
    failure: Mapping[str, Any] | None,
    *,
    notified: bool,
) -> MissingTask:
    return MissingTask(
        task_id=task.task_id,
        path=task.endpoints[task.best()],
        endpoints=dict(task.endpoints),
        tag=task.tag,
        why=reason(failure),
        since_us=int(posted.timestamp() * 1e6) if posted else None,
        notified=notified,
    )


def _to_resend(task_id: str, row: Mapping[str, Any]) -> MissingTask:
    failed_at = api.read_time(row.get("datetime"))
    return MissingTask(
        task_id=task_id,
        path="/v3/appendix/webhook_resend",
        why=reason(row),
        since_us=int(failed_at.timestamp() * 1e6) if failed_at else None,
    )
