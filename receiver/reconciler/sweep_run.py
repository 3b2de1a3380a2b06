"""A sweep from lease to report, whatever the provider."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from receiver import metrics
from receiver.catalog import Catalog
from receiver.errors import (
    Damaged,
    LeaseLost,
    NotFound,
    ProviderError,
    ResultTooLarge,
    SpoolUnavailable,
    StoreError,
)
from receiver.lease import Lease
from receiver.reconciler.caller import Caller
from receiver.reconciler.memory import Memory
from receiver.reconciler.report import Repair, Report, SweepSummary
from receiver.reconciler.sink import Sink
from receiver.reconciler.unfinished import DAYS_BACK, Unfinished, Wanted, is_too_old
from receiver.reconciler.waiting import Waiting
from receiver.store import Store

_log = logging.getLogger(__name__)

# So many tasks that fail one after the other mean that the provider fails.
_FAILURES_MAX = 20


class SweepProgress(Protocol):
    """Is told how far a sweep is."""

    def __call__(self, *, done: int, total: int) -> None:
        """Take note."""
        ...


def _no_progress(*, done: int, total: int) -> None:
    return None


class SweepRun:
    """One run of a sweep: what it works with, and what it has done so far."""

    def __init__(
        self,
        *,
        provider: str,
        instance: str,
        store: Store,
        catalog: Catalog,
        caller: Caller,
        sink: Sink,
        spool_root: Path,
        lease_seconds: float,
        tasks_max: int,
        dry_run: bool = False,
        progress: SweepProgress = _no_progress,
        hide: Callable[[str], str] = str,
    ) -> None:
        self.provider = provider
        self.store = store
        self.catalog = catalog
        self.caller = caller
        self.sink = sink
        self.tasks_max = tasks_max
        self.dry_run = dry_run
        self.progress = progress
        self.report = Report(provider=provider, instance=instance, dry_run=dry_run, hide=hide)
        # What a provider says of a delivery that failed can repeat the URL, and with it a token.
        self._hide = hide
        self._lease_seconds = lease_seconds
        self._lease = Lease(
            store,
            f"sweep-{provider}",
            owner=f"{instance}/{self.report.id}",
            seconds=lease_seconds,
        )
        self._unfinished = Unfinished(store, provider=provider, sweep=self.report.id, hide=hide)
        # The sweep's own, from `run` on.
        self.memory = Memory()
        self._waiting = Waiting(spool_root, provider)

    @contextlib.asynccontextmanager
    async def leased(self) -> AsyncIterator[None]:
        """Hold the lease.  Raises `LeaseHeld`; a dry run needs none."""
        if self.dry_run:
            yield
            return
        await asyncio.to_thread(self._lease.acquire)
        self.report.generation = self._lease.generation
        over = asyncio.Event()
        keeping = asyncio.create_task(self._keep_lease(over))
        try:
            yield
        finally:
            over.set()
            await keeping
            await asyncio.to_thread(self._lease.release)

    async def _keep_lease(self, over: asyncio.Event) -> None:
        """Renew the lease all the while: one call may wait for minutes until it may be made."""
        while not over.is_set():
            try:
                async with asyncio.timeout(self._lease_seconds / 4):
                    await over.wait()
            except TimeoutError:
                try:
                    await asyncio.to_thread(self._lease.keep)
                except StoreError as exc:
                    _log.warning("lease not renewed", extra={"error": str(exc)})
                except LeaseLost:
                    return  # which the next step finds out

    async def sync(self) -> None:
        """Bring the catalog up to date."""
        since = datetime.now(UTC) - timedelta(days=DAYS_BACK)
        await asyncio.to_thread(self.catalog.sync, since=since)

    async def held(self, task_ids: Collection[str], *, kinds: Sequence[str]) -> set[str]:
        """Return those tasks whose result is in the archive, or in this machine's spool."""
        archived = await asyncio.to_thread(
            self.catalog.archived, self.provider, task_ids, kinds=kinds
        )
        return archived | await asyncio.to_thread(self._waiting.among, task_ids, kinds)

    async def step(self) -> None:
        """Make sure that the next step may be taken.

        Raises `LeaseLost`, or `SpoolUnavailable` where nothing more could be kept.
        """
        if self.dry_run:
            return
        self._lease.check()
        await asyncio.to_thread(self.sink.check_room)

    async def remember(self, wanted: Sequence[Wanted]) -> None:
        """Write down what is about to be fetched, before it leaves the provider's list.

        To be given only what no list has yet.
        """
        if wanted and not self.dry_run:
            await asyncio.to_thread(self._unfinished.remember, wanted)

    async def unfinished(self, *, kinds: Sequence[str]) -> list[Wanted]:
        """Return what earlier sweeps meant to fetch and the archive lacks.

        Lists of which nothing is lacking are removed.
        """
        lacking: dict[str, Wanted] = {}
        keys, foreign = await asyncio.to_thread(self._unfinished.keys)
        if foreign - self.memory.foreign:
            some = ", ".join(sorted(foreign)[:3])
            self.report.alarms.append(f"no lists of what is unfinished, and left alone: {some}")
        self.memory.foreign = foreign
        for key in keys:
            try:
                tasks = await asyncio.to_thread(self._unfinished.read, key)
            except NotFound:
                continue
            except Damaged as exc:
                self.report.alarms.append(str(exc))
                continue
            held = await asyncio.to_thread(
                self.catalog.archived, self.provider, [task.task_id for task in tasks], kinds=kinds
            )
            missing = [task for task in tasks if task.task_id not in held]
            if missing and not is_too_old(key):
                self._unfinished.take_over(key, missing)
                lacking.update((task.task_id, task) for task in missing)
            elif not self.dry_run:
                for task in missing:
                    self.report.add(self.repair(task, "lost", detail="not fetched in 31 days"))
                await asyncio.to_thread(self._unfinished.remove, key)
        waiting = await asyncio.to_thread(self._waiting.among, lacking, kinds)
        return [task for task in lacking.values() if task.task_id not in waiting]

    async def forget_lost(self) -> None:
        """Take what is lost for good off the lists of what is unfinished."""
        lost = self.report.lost
        if lost:
            await self.step()
        await asyncio.to_thread(self._unfinished.forget, lost)

    async def each(
        self, tasks: Sequence[Wanted], fetch: Callable[[Wanted], Awaitable[Repair]], *, at_once: int
    ) -> None:
        """Fetch tasks, several at once, in order; report each.

        One that fails does not stop the others, until so many have failed in a row that the
        provider must be at fault.  Raises what `step` raises, after what is under way has ended.
        """
        remaining = iter(tasks)
        done = failures = 0
        stopped: Exception | None = None

        async def work() -> None:
            nonlocal done, failures, stopped
            for task in remaining:
                if stopped is not None:
                    return
                try:
                    await self.step()
                    too_large = self.memory.too_large.get(task.task_id)
                    if too_large is not None:
                        # It would be as large again: told again, and not fetched.
                        self.report.add(self.repair(task, "failed", detail=too_large))
                        continue
                    repair = await self._fetched(task, fetch)
                except Exception as exc:  # noqa: BLE001
                    stopped = stopped or exc
                    return
                self.report.add(repair)
                failures = failures + 1 if repair.outcome == "failed" else 0
                done += 1
                self.progress(done=done, total=len(tasks))
                if failures >= _FAILURES_MAX:
                    stopped = ProviderError(f"{failures} tasks failed in a row: {repair.detail}")

        await asyncio.gather(*(work() for _ in range(min(at_once, len(tasks)))))
        if stopped is not None:
            raise stopped

    async def each_of_earlier(
        self, tasks: Sequence[Wanted], fetch: Callable[[Wanted], Awaitable[Repair]], *, at_once: int
    ) -> None:
        """Fetch tasks that earlier sweeps left, as `each` does.

        It may be those alone that fail on and on, and they must not stop what is new: that many
        have failed in a row is an alarm, and no error.
        """
        try:
            await self.each(tasks, fetch, at_once=at_once)
        except ProviderError as exc:
            self.report.alarms.append(f"tasks of earlier sweeps: {exc}")

    async def _fetched(self, task: Wanted, fetch: Callable[[Wanted], Awaitable[Repair]]) -> Repair:
        if self.dry_run:
            return self.repair(task, "wanted")
        try:
            return await fetch(task)
        except ProviderError as exc:
            if isinstance(exc, ResultTooLarge):
                self.memory.too_large[task.task_id] = str(exc)
            return self.repair(task, "failed", detail=str(exc))

    def repair(self, task: Wanted, outcome: Any, *, detail: str | None = None) -> Repair:
        """Return the report's line on a task."""
        return Repair(
            provider=self.provider,
            task_id=task.task_id,
            outcome=outcome,
            how=task.path,
            why=task.why and self._hide(task.why),
            tag=task.tag,
            missing_seconds=task.missing_seconds,
            detail=detail and self._hide(detail),
        )


class Sweep(Protocol):
    """A provider's sweep: finds what is missing, and fetches it."""

    @property
    def memory(self) -> Memory:
        """What it remembers from one call to the next."""
        ...

    async def __call__(self, session: SweepRun) -> None:
        """Sweep once."""
        ...


async def run(session: SweepRun, sweep: Sweep) -> SweepSummary:
    """Run one sweep under its lease and write its report, however it ends.

    Raises `LeaseHeld` before anything was done; `ProviderError`, `LeaseLost`, `SpoolUnavailable`
    or `StoreError` where it could not go on.
    """
    session.memory = sweep.memory
    async with session.leased(), session.caller:
        try:
            await session.sync()
            try:
                await sweep(session)
            except ProviderError:
                await session.forget_lost()  # which has been told
                raise
            await session.forget_lost()
        except (ProviderError, SpoolUnavailable, LeaseLost) as exc:
            session.report.alarms.append(str(exc))
            raise
        finally:
            session.memory.take(session.report)
            await asyncio.to_thread(session.sink.close)
            if not session.dry_run:
                await asyncio.to_thread(session.report.write, session.store)
    summary = session.report.summary()
    metrics.last_sweep_seconds.labels(session.provider).set_to_current_time()
    _log.info("swept", extra={**asdict(summary), "alarms": list(summary.alarms)})
    return summary
