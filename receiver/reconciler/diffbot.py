"""The sweep of Diffbot: one list has every job, and nothing is ever sent twice.

A job that has told its webhook, or should have, and whose callback the archive lacks is written as
the notification that was lost: the job's own metadata, as the list gives it.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from receiver import clock
from receiver.providers import PROVIDERS, envelope
from receiver.providers import diffbot_api as api
from receiver.reconciler.memory import Memory
from receiver.reconciler.report import Repair
from receiver.reconciler.sweep_run import SweepRun
from receiver.reconciler.unfinished import Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffbotSweep:
    """Sweeps all jobs of one token; call it with a session."""

    own_urls: Sequence[str]
    grace_seconds: float
    memory: Memory = field(default_factory=Memory)

    async def __call__(self, session: SweepRun) -> None:
        """Sweep once."""
        jobs = await session.caller.hold(api.jobs())
        session.report.listed = len(jobs)
        wanted, bodies, strange = [], {}, []
        for job in jobs:
            try:
                task = await self._select(session, job)
            except _Strange as exc:
                strange.append(str(exc))
                continue
            if task is not None:
                wanted.append(task)
                bodies[id(task)] = orjson.dumps(job)
        if strange:
            # Their notifications cannot be told apart from what is held.
            some = ", ".join(strange[:3])
            session.report.alarms.append(f"{len(strange)} jobs were not understood, such as {some}")

        async def fetch(task: Wanted) -> Repair:
            await asyncio.to_thread(
                session.sink.put,
                provider=session.provider,
                kind="notification",
                target=task.path,
                headers=[("content-type", "application/json"), ("x-crawl-name", task.task_id)],
                body=bodies[id(task)],
            )
            return session.repair(task, "repaired")

        await session.each(self.memory.order(wanted)[: session.tasks_max], fetch, at_once=1)

    async def _select(self, session: SweepRun, job: dict[str, Any]) -> Wanted | None:
        """Return what a job lacks.  Raises `_Strange`."""
        report = session.report
        name, url = str(job.get("name") or ""), str(job.get("notifyWebhook") or "")
        if not name or not any(own in url for own in self.own_urls):
            report.foreign += 1
            return None
        status = job.get("jobStatus")
        code = status.get("status") if isinstance(status, dict) else None
        if not isinstance(code, int):
            raise _Strange(f"{name} (jobStatus)")
        if code not in api.TOLD:
            return None
        completed = job.get("jobCompletionTimeUTC")
        since_us = int(completed) * 1_000_000 if isinstance(completed, int) and completed else None
        age = (clock.now_us() - since_us) / 1e6 if since_us else self.grace_seconds
        if age < self.grace_seconds:
            report.young += 1
            return None
        key = _key(session.provider, job)
        if key is None:
            raise _Strange(name)
        if await asyncio.to_thread(session.catalog.has_key, session.provider, key):
            report.held += 1
            return None
        sent = "sent, not received" if job.get("sentJobDoneNotification") else "not sent"
        return Wanted(task_id=name, path="/v3/crawl", why=sent, since_us=since_us)


class _Strange(Exception):
    """A job of ours is not as documented; the message names it."""


def _key(provider: str, job: dict[str, Any]) -> str | None:
    """Return the key that the job's own notification has, None if it would have none."""
    try:
        body = orjson.dumps(job)
    except orjson.JSONEncodeError:  # a number beyond all bounds
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
