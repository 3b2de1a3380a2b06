"""A provider's sweep, and running it once, from lease to report."""

import asyncio
import logging
from dataclasses import asdict
from typing import Protocol

from receiver import metrics
from receiver.errors import LeaseLost, ProviderError, SpoolUnavailable
from receiver.reconciler.history import SweepHistory
from receiver.reconciler.report import SweepSummary
from receiver.reconciler.sweep_run import SweepRun

_log = logging.getLogger(__name__)


class Sweep(Protocol):
    """A provider's sweep: finds the tasks whose results are missing, and fetches them."""

    @property
    def history(self) -> SweepHistory:
        """What it remembers from run to run."""
        ...

    async def __call__(self, run: SweepRun) -> None:
        """Sweep once."""
        ...


async def run_sweep(sweep: Sweep, run: SweepRun) -> SweepSummary:
    """Run a sweep once, under its lease, and write its report, however it ends.

    Raises `LeaseHeld` before anything was done; `ProviderError`, `LeaseLost`, `SpoolUnavailable`
    or `StoreError` where it could not go on.
    """
    run.history = sweep.history
    async with run.leased(), run.caller:
        try:
            await run.sync()
            try:
                await sweep(run)
            except ProviderError:
                await run.drop_lost()  # already reported
                raise
            await run.drop_lost()
        except (ProviderError, SpoolUnavailable, LeaseLost) as exc:
            run.report.alarms.append(str(exc))
            raise
        finally:
            run.history.learn(run.report)
            await asyncio.to_thread(run.sink.close)
            if not run.dry_run:
                await asyncio.to_thread(run.report.write, run.store)
    summary = run.report.summary()
    metrics.last_sweep_seconds.labels(run.provider).set_to_current_time()
    _log.info("swept", extra={**asdict(summary), "alarms": list(summary.alarms)})
    return summary
