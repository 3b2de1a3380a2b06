"""The sweep of DataForSEO and DataForApps.

`tasks_ready` lists what is finished and was never collected: postbacks that failed, and tasks that
only have a pingback.  `/errors` says why, and knows tasks that the list has dropped; those are
asked for again by `webhook_resend`.
"""

import asyncio
import fnmatch
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from receiver.errors import ProviderError
from receiver.providers import dataforseo_api as api
from receiver.reconciler.memory import Memory
from receiver.reconciler.report import Repair, TaskOutcome
from receiver.reconciler.sweep_run import SweepRun
from receiver.reconciler.unfinished import Wanted

_log = logging.getLogger(__name__)

_RESULTS = ("postback", "result")
_AT_ONCE = 20
# What DataForSEO keeps, and what older pages and DataForApps' still say.
_ERROR_DAYS = (7, 1)
_RESEND_AGAIN = timedelta(hours=1)
_DELAYED = {"webhook_delay", "send_delay", "major_outage", "partial_outage"}
# While the provider says that its webhooks are late, nothing is missing yet.
_DELAYED_GRACE_FACTOR = 6


@dataclass(slots=True, kw_only=True)
class DataForSeoSweep:
    """Sweeps the families of one account; call it with a session."""

    families: Sequence[str]
    # A pattern of the tags that are ours.
    tags: str
    # Pieces of URL by which a callback URL is known to be ours.
    own_urls: Sequence[str]
    grace_seconds: float
    # When each task was asked for again, in the last hour.
    resent: dict[str, datetime] = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory)

    async def __call__(self, session: SweepRun) -> None:
        """Sweep once."""
        earlier = self.memory.order(await session.unfinished(kinds=_RESULTS))
        await session.each_of_earlier(earlier, _Fetch(session), at_once=_AT_ONCE)
        grace = await self._grace(session)
        failures = await self._failures(session)
        dealt_with = {task.task_id for task in earlier}
        refusals = []
        for family in self.families:
            try:
                dealt_with |= await self._sweep_family(session, family, failures, grace, dealt_with)
            except ProviderError as exc:
                # A family that the account has no right to must not stop the others.
                session.report.alarms.append(f"{family}: {exc}")
                refusals.append(exc)
        if refusals and len(refusals) == len(self.families):
            raise refusals[0]
        await self._resend(session, failures, dealt_with, grace)

    async def _grace(self, session: SweepRun) -> timedelta:
        """Return how old a task must be to be missing."""
        grace = timedelta(seconds=self.grace_seconds)
        for row in await session.caller.hold(api.status()):
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

    async def _failures(self, session: SweepRun) -> dict[str, Mapping[str, Any]]:
        """Return the failed deliveries to URLs of ours, the newest of each task.

        A postback that failed goes before a pingback that did: it was to carry the result.
        """
        found: dict[str, Mapping[str, Any]] = {}
        for name in dict.fromkeys(family.partition("/")[0] for family in self.families):
            for function in ("postback_url", "pingback_url"):
                for row in await _errors(session, name, function):
                    task_id, url = row.get("id"), str(row.get("http_url") or "")
                    if isinstance(task_id, str) and any(own in url for own in self.own_urls):
                        known = found.get(task_id)
                        if known is None or _goes_before(row, known):
                            found[task_id] = row
        return found

    async def _sweep_family(
        self,
        session: SweepRun,
        family: str,
        failures: Mapping[str, Mapping[str, Any]],
        grace: timedelta,
        dealt_with: Collection[str],
    ) -> set[str]:
        """Collect a family's list until it has nothing more for us; return what was tried."""
        tried = set(dealt_with)
        while True:
            await session.step()
            ready = await session.caller.hold(api.tasks_ready(family))
            fresh = [task for task in ready.tasks if task.task_id not in tried]
            session.report.listed += len(fresh)
            wanted = await self._select(session, fresh, failures, grace, clear=ready.is_full)
            tried |= {task.task_id for task in fresh}
            room = session.tasks_max - len(session.report.repairs)
            wanted = wanted[: max(0, room)]
            await session.remember(wanted)
            await session.each(wanted, _Fetch(session), at_once=_AT_ONCE)
            if not ready.is_full or not wanted or session.dry_run:
                session.report.alarms.extend(f"{family}: {it}" for it in self._oddities(ready))
                return tried

    def _oddities(self, ready: api.ReadyList) -> Iterator[str]:
        """Say what of a list hides tasks from a sweep."""
        strange = sum(1 for tag in ready.strange if self._ours(tag))
        if strange:
            yield f"{strange} rows of tasks_ready were not understood"
        if ready.is_full and not any(self._ours(task.tag) for task in ready.tasks):
            # The list has no pages: what stands behind these thousand cannot be seen.
            yield "the list is full and none of it is ours"

    def _ours(self, tag: str | None) -> bool:
        return fnmatch.fnmatchcase(tag or "", self.tags)

    async def _select(
        self,
        session: SweepRun,
        ready: Sequence[api.Ready],
        failures: Mapping[str, Mapping[str, Any]],
        grace: timedelta,
        *,
        clear: bool,
    ) -> list[Wanted]:
        """Return what of a list is ours, old enough and not held, in the order to try it.

        To ``clear`` a list that is full, what is held is collected as well: it would stay there
        for three days, in the place of others.
        """
        report = session.report
        newest = datetime.now(UTC) - grace
        ids = [task.task_id for task in ready]
        held = await session.held(ids, kinds=_RESULTS)
        told = await session.held(ids, kinds=("pingback",))
        wanted = []
        for task in ready:
            posted = api.read_time(task.posted_at)
            if not self._ours(task.tag):
                report.foreign += 1
            elif task.task_id in self.memory.lost:
                continue
            elif task.task_id in held:
                report.held += 1
                if clear:
                    wanted.append(_wanted(task, posted, failures.get(task.task_id), held))
            elif posted is not None and posted > newest and task.task_id not in failures:
                report.young += 1
            else:
                wanted.append(_wanted(task, posted, failures.get(task.task_id), told))
        return self.memory.order(wanted)

    async def _resend(
        self,
        session: SweepRun,
        failures: Mapping[str, Mapping[str, Any]],
        dealt_with: set[str],
        grace: timedelta,
    ) -> None:
        """Ask again for failed deliveries that no list has any more."""
        now = datetime.now(UTC)
        recently = now - _RESEND_AGAIN
        self.resent = {task_id: at for task_id, at in self.resent.items() if at >= recently}
        settled = dealt_with | self.memory.lost.keys() | self.resent.keys()
        held = await session.held(failures, kinds=_RESULTS)
        told = await session.held(failures, kinds=("pingback",))
        missing = []
        for task_id, row in failures.items():
            if task_id in held or (task_id in told and row.get("function") == "pingback_url"):
                continue
            failed_at = api.read_time(row.get("datetime"))
            waited = failed_at is None or failed_at < now - grace
            if waited and task_id not in settled:
                missing.append(_missing(task_id, row))
        for batch in api.batches([task.task_id for task in missing], api.RESEND_MAX):
            await session.step()
            said = {} if session.dry_run else await session.caller.hold(api.webhook_resend(batch))
            for task in (task for task in missing if task.task_id in set(batch)):
                self.resent[task.task_id] = now
                answer = said.get(task.task_id, "")
                outcome = "wanted" if session.dry_run else _resent(answer)
                session.report.add(session.repair(task, outcome, detail=answer or None))


class _Fetch:
    """Collects one task into the spool."""

    def __init__(self, session: SweepRun) -> None:
        self._session = session

    async def __call__(self, task: Wanted) -> Repair:
        session = self._session
        collected = await session.caller.hold(api.task_get(task.path))
        other = (task.endpoints or {}).get(collected.wanted or "")
        if collected.state == "done" and other is not None and other != task.path:
            # What the postback was to carry, not what this task has besides.
            better = await session.caller.hold(api.task_get(other))
            # Its time may be shorter: html is kept for a week, the rest for a month.
            if better.state not in ("lost", "gone"):
                task, collected = replace(task, path=other), better
        if collected.state == "done":
            await asyncio.to_thread(
                session.sink.put,
                provider=session.provider,
                kind="result",
                target=task.path,
                headers=collected.reply.headers,
                body=collected.reply.wire,
            )
            return session.repair(task, "collected" if task.told else "repaired")
        outcome = {"pending": "pending", "lost": "lost", "gone": "lost"}.get(
            collected.state, "failed"
        )
        return session.repair(task, outcome, detail=collected.detail)


async def _errors(session: SweepRun, name: str, function: str) -> Sequence[Mapping[str, Any]]:
    """Return an API's failed deliveries; none, and an alarm, where there is no such list."""
    now = datetime.now(UTC)
    until = api.write_time(now + timedelta(minutes=5))
    refusal: ProviderError | None = None
    for days in _ERROR_DAYS:
        since = api.write_time(now - timedelta(days=days) + timedelta(minutes=5))
        try:
            return await session.caller.hold(api.errors(name, function, since=since, until=until))
        except ProviderError as exc:
            refusal = exc
    session.report.alarms.append(f"{name}: no list of errors: {refusal}")
    return ()


def _goes_before(row: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    if row.get("function") != known.get("function"):
        return row.get("function") == "postback_url"
    return str(row.get("datetime")) > str(known.get("datetime"))


def _resent(answer: str) -> TaskOutcome:
    """Return the outcome of asking again."""
    if answer.startswith("20"):
        return "resent"
    return "lost" if answer[:5] in ("40401", "40403") else "failed"


def _wanted(
    task: api.Ready,
    posted: datetime | None,
    failure: Mapping[str, Any] | None,
    told: set[str],
) -> Wanted:
    return Wanted(
        task_id=task.task_id,
        path=task.endpoints[task.best()],
        endpoints=dict(task.endpoints),
        tag=task.tag,
        why=_why(failure),
        since_us=int(posted.timestamp() * 1e6) if posted else None,
        told=task.task_id in told,
    )


def _missing(task_id: str, row: Mapping[str, Any]) -> Wanted:
    failed_at = api.read_time(row.get("datetime"))
    return Wanted(
        task_id=task_id,
        path="/v3/appendix/webhook_resend",
        why=_why(row),
        since_us=int(failed_at.timestamp() * 1e6) if failed_at else None,
    )


def _why(failure: Mapping[str, Any] | None) -> str | None:
    """Say what the provider saw, without the URL: it holds our token."""
    if failure is None:
        return None
    code, seconds = failure.get("http_code"), failure.get("http_time")
    return f"{failure.get('function')}: HTTP {code} after {seconds} s at {failure.get('datetime')}"
