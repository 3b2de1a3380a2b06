"""One run of a sweep: what every provider's sweep works with."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from receiver.catalog import Catalog
from receiver.errors import Damaged, NotFound, ProviderError, ResultTooLarge
from receiver.reconciler.caller import Caller
from receiver.reconciler.history import SweepHistory
from receiver.reconciler.journal import DAYS_BACK, Journal, MissingTask, is_too_old
from receiver.reconciler.kept_lease import KeptLease
from receiver.reconciler.report import Repair, Report, TaskOutcome
from receiver.reconciler.sink import Sink
from receiver.reconciler.spooled import SpooledCallbacks
from receiver.store import Store

# After this many failures in a row the provider itself is taken to have failed.
_FAILURES_MAX = 20
# Fetched results of one task that are not valid; then it would be the same again.
_TRIES_MAX = 3

Fetch = Callable[[MissingTask], Awaitable[Repair]]


class SweepProgress(Protocol):
    """Is told how far a run is."""

    def __call__(self, *, done: int, total: int) -> None:
        """Take note that ``done`` of ``total`` tasks are done."""
        ...


def _no_progress(*, done: int, total: int) -> None:
    return None


class SweepRun:
    """One run of a sweep: what it works with, and what it has done so far.

    A dry run needs no lease and writes nothing.
    """

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
        self.report = Report(provider=provider, instance=instance, dry_run=dry_run, hide=hide)
        # The sweep's own history, once `run` has begun.
        self.history = SweepHistory()
        self._progress = progress
        # What a provider says of a failed delivery can repeat the URL, and with it a token.
        self._hide = hide
        self._lease = KeptLease(
            store,
            f"sweep-{provider}",
            owner=f"{instance}/{self.report.id}",
            seconds=lease_seconds,
        )
        self._journal = Journal(store, provider=provider, sweep=self.report.id, hide=hide)
        self._spooled = SpooledCallbacks(spool_root, provider)

    @contextlib.asynccontextmanager
    async def leased(self) -> AsyncIterator[None]:
        """Hold the lease.  Raises `LeaseHeld`."""
        if self.dry_run:
            yield
            return
        async with self._lease.held() as self.report.generation:
            yield

    async def check(self) -> None:
        """Check that another task may be fetched: the lease is held, and the spool has room.

        Raises `LeaseLost` or `SpoolUnavailable`.
        """
        if self.dry_run:
            return
        self._lease.check()
        await asyncio.to_thread(self.sink.check_room)

    # What is held.

    async def sync(self) -> None:
        """Bring the catalog up to date."""
        since = datetime.now(UTC) - timedelta(days=DAYS_BACK)
        await asyncio.to_thread(self.catalog.sync, since=since)

    async def held(self, task_ids: Collection[str], *, kinds: Sequence[str]) -> set[str]:
        """Return the given tasks that have a line of these kinds in the archive or the spool.

        In the archive, a postback or a result without a valid body does not count, unless the task
        was fetched so often in vain that it is given up, with an alarm.
        """
        archived = await self._archived(task_ids, kinds)
        return archived | await asyncio.to_thread(self._spooled.held, task_ids, kinds)

    async def _archived(self, task_ids: Collection[str], kinds: Sequence[str]) -> set[str]:
        archived = await asyncio.to_thread(
            self.catalog.archived, self.provider, task_ids, kinds=kinds
        )
        if "result" not in kinds:
            return archived
        missing = [task_id for task_id in task_ids if task_id not in archived]
        return archived | await self._given_up(missing)

    async def _given_up(self, task_ids: Collection[str]) -> set[str]:
        """Return the tasks that were fetched so often in vain that they are not fetched again."""
        found = await asyncio.to_thread(
            self.catalog.fruitless, self.provider, task_ids, at_least=_TRIES_MAX
        )
        for task_id in sorted(found - self.history.given_up.keys()):
            self.history.given_up[task_id] = None
            self.report.alarms.append(
                f"{task_id} was fetched {_TRIES_MAX} times and is given up: each result is stored,"
                " none is valid"
            )
        return found

    # The journal.

    async def record(self, tasks: Sequence[MissingTask]) -> None:
        """Record tasks in the journal before they are fetched; pass only new ones."""
        if tasks and not self.dry_run:
            await asyncio.to_thread(self._journal.record, tasks)

    async def left_over(self, *, kinds: Sequence[str]) -> list[MissingTask]:
        """Return the tasks that earlier sweeps recorded and the archive still lacks.

        Lists of which no task is missing any more are removed.
        """
        missing: dict[str, MissingTask] = {}
        for key in await self._journal_keys():
            try:
                tasks = await asyncio.to_thread(self._journal.read, key)
            except NotFound:
                continue
            except Damaged as exc:
                self.report.alarms.append(str(exc))
                continue
            archived = await self._archived([task.task_id for task in tasks], kinds)
            tasks = [task for task in tasks if task.task_id not in archived]
            if tasks and not is_too_old(key):
                self._journal.adopt(key, tasks)
                missing.update((task.task_id, task) for task in tasks)
            elif not self.dry_run:
                for task in tasks:
                    detail = f"not fetched within {DAYS_BACK} days"
                    self.report.add(self.repair(task, "lost", detail=detail))
                await asyncio.to_thread(self._journal.remove, key)
        spooled = await asyncio.to_thread(self._spooled.held, missing, kinds)
        return [task for task in missing.values() if task.task_id not in spooled]

    async def _journal_keys(self) -> list[str]:
        keys, unexpected = await asyncio.to_thread(self._journal.keys)
        if unexpected - self.history.unexpected_keys:
            some = ", ".join(sorted(unexpected)[:3])
            self.report.alarms.append(f"objects that are not lists of tasks, left alone: {some}")
        self.history.unexpected_keys = unexpected
        return keys

    async def drop_lost(self) -> None:
        """Remove the tasks that are lost for good from the journal."""
        lost = self.report.lost
        if lost:
            await self.check()
        await asyncio.to_thread(self._journal.drop, lost)

    # Fetching.

    async def fetch_all(self, tasks: Sequence[MissingTask], fetch: Fetch, *, at_once: int) -> None:
        """Fetch tasks in this order, ``at_once`` concurrently, and report each.

        A task that fails does not stop the others.  Raises `ProviderError` when too many fail in a
        row, and whatever `check` raises, once the fetches under way have ended.
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
                    await self.check()
                    too_large = self.history.too_large.get(task.task_id)
                    if too_large is not None:
                        # It would be too large again: report it, don't fetch it.
                        self.report.add(self.repair(task, "failed", detail=too_large))
                        continue
                    repair = await self._fetched(task, fetch)
                except Exception as exc:  # noqa: BLE001
                    stopped = stopped or exc
                    return
                self.report.add(repair)
                failures = failures + 1 if repair.outcome == "failed" else 0
                done += 1
                self._progress(done=done, total=len(tasks))
                if failures >= _FAILURES_MAX:
                    stopped = ProviderError(f"{failures} tasks failed in a row: {repair.detail}")

        await asyncio.gather(*(work() for _ in range(min(at_once, len(tasks)))))
        if stopped is not None:
            raise stopped

    async def fetch_left_over(
        self, tasks: Sequence[MissingTask], fetch: Fetch, *, at_once: int
    ) -> None:
        """Fetch tasks that earlier sweeps left, as `fetch_all` does.

        Too many failures in a row are an alarm here, not an error: these tasks may fail every
        time, and must not hold up new ones.
        """
        try:
            await self.fetch_all(tasks, fetch, at_once=at_once)
        except ProviderError as exc:
            self.report.alarms.append(f"tasks of earlier sweeps: {exc}")

    async def _fetched(self, task: MissingTask, fetch: Fetch) -> Repair:
        if self.dry_run:
            return self.repair(task, "wanted")
        try:
            return await fetch(task)
        except ProviderError as exc:
            if isinstance(exc, ResultTooLarge):
                self.history.too_large[task.task_id] = str(exc)
            return self.repair(task, "failed", detail=str(exc))

    def repair(
        self, task: MissingTask, outcome: TaskOutcome, *, detail: str | None = None
    ) -> Repair:
        """Return the report's line about a task, without secrets."""
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
