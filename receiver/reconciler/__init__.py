"""The reconciler: fetches the results whose callbacks never came.

A sweep asks a provider what is finished, subtracts what the archive and this machine's spool hold,
and fetches the rest into the spool, marked `origin=sweep`.  It runs under a lease and is bounded.
Running it twice, or while late callbacks come in, does no harm: duplicates have the same key.

    sweeps/date=2026-11-21/<id>.jsonl              a report: a line for each task, then a summary
    sweeps/unfinished/<provider>/<id>-<n>.json     the journal: tasks about to be fetched

`sweep` runs a provider's sweep once, `caller` makes every call.
"""

from receiver.reconciler.dataforseo import DataForSeoSweep
from receiver.reconciler.diffbot import DiffbotSweep
from receiver.reconciler.outscraper import OutscraperSweep
from receiver.reconciler.report import Repair, SweepSummary, TaskOutcome
from receiver.reconciler.sweep import Sweep, run_sweep
from receiver.reconciler.sweep_run import SweepRun

__all__ = [
    "DataForSeoSweep",
    "DiffbotSweep",
    "OutscraperSweep",
    "Repair",
    "Sweep",
    "SweepRun",
    "SweepSummary",
    "TaskOutcome",
    "run_sweep",
]
