"""The sweep of Diffbot: one list has every job, and no notification is ever sent twice.

A lost notification is restored from the list: the metadata of a job that has called its webhook, or
should have, and whose notification the archive lacks, is archived as that notification.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from receiver import clock
from receiver.providers import PROVIDERS, envelope
from receiver.providers import diffbot_api as api
from receiver.reconciler.history import SweepHistory
from receiver.reconciler.journal import MissingTask
from receiver.reconciler.report import Repair
from receiver.reconciler.sweep_run import SweepRun


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffbotSweep:
    """Sweeps all jobs of one token."""

    # A webhook URL that contains one of these is ours.
    own_urls: Sequence[str]
    grace_seconds: float
    history: SweepHistory = field(default_factory=SweepHistory)

    async def __call__(self, run: SweepRun) -> None:
        """Sweep once."""
        jobs = await run.caller.hold(api.jobs())
        run.report.listed = len(jobs)
        run.report.alarms.extend(f"jobs: {alarm}" for alarm in jobs.alarms)
        missing, bodies, undocumented = [], {}, []
        for job in jobs:
            try:
                task = await self._select(run, job)
            except _Undocumented as exc:
                undocumented.append(str(exc))
                continue
            if task is not None:
                missing.append(task)
                bodies[id(task)] = orjson.dumps(job)
        if undocumented:
            # It cannot be determined whether their notifications are held.
            some = ", ".join(undocumented[:3])
            alarm = f"{len(undocumented)} jobs were not understood, such as {some}"
            run.report.alarms.append(alarm)

        async def fetch(task: MissingTask) -> Repair:
            await asyncio.to_thread(
                run.sink.put,
                provider=run.provider,
                kind="notification",
                target=task.path,
                headers=[("content-type", "application/json"), ("x-crawl-name", task.task_id)],
                body=bodies[id(task)],
            )
            return run.repair(task, "repaired")

        await run.fetch_all(self.history.order(missing)[: run.tasks_max], fetch, at_once=1)

    async def _select(self, run: SweepRun, job: dict[str, Any]) -> MissingTask | None:
        """Return a job as a task if its notification is missing.  Raises `_Undocumented`."""
        report = run.report
        name, url = str(job.get("name") or ""), str(job.get("notifyWebhook") or "")
        if not name or not any(own in url for own in self.own_urls):
            report.foreign += 1
            return None
        status = job.get("jobStatus")
        code = status.get("status") if isinstance(status, dict) else None
        if not isinstance(code, int):
            raise _Undocumented(f"{name} (jobStatus)")
        if code not in api.NOTIFIED:
            return None
        completed = job.get("jobCompletionTimeUTC")
        since_us = int(completed) * 1_000_000 if isinstance(completed, int) and completed else None
        age = (clock.now_us() - since_us) / 1e6 if since_us else self.grace_seconds
        if age < self.grace_seconds:
            report.young += 1
            return None
        key = _key(run.provider, job)
        if key is None:
            raise _Undocumented(name)
        if await asyncio.to_thread(run.catalog.has_key, run.provider, key):
            report.held += 1
            return None
        sent = "sent, not received" if job.get("sentJobDoneNotification") else "not sent"
        return MissingTask(task_id=name, path="/v3/crawl", why=sent, since_us=since_us)


class _Undocumented(Exception):
    """One of our jobs is not as documented; the message names it."""


def _key(provider: str, job: dict[str, Any]) -> str | None:
    """Return the key that a job's notification has, None if it would have none."""
    try:
        body = orjson.dumps(job)
    except orjson.JSONEncodeError:  # an integer out of range
        return None
    notification = envelope.Envelope(
        delivery_id="",
        received_at_us=0,
        provider=provider,
        kind="notification",
        origin="sweep",
        peer=None,
        instance="",
        method="GET",
        target="/v3/crawl",
        headers=(),
        body=body,
    )
    return PROVIDERS[provider].recognise(notification, body, whole=True).key
