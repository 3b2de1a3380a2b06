"""The reconciler: what a provider could not deliver reaches the archive all the same.

A sweep asks a provider what is finished, subtracts what the archive and this machine's spool
hold, and fetches the rest into the spool, marked `origin=sweep`.  It runs under a lease, is
bounded, and is safe to run twice, or while late callbacks come in: a duplicate has the same key.

    sweeps/date=2026-11-21/<id>.jsonl              a report: one line a task, then a summary
    sweeps/unfinished/<provider>/<id>-<n>.json     what was about to be fetched

Collecting a task can take it off its provider's list, so what is about to be collected is written
to the bucket first.  The next sweep, on any instance, fetches what of it is not in the archive by
then, and removes the list when all of it is.
"""

from receiver.reconciler.dataforseo import DataForSeoSweep
from receiver.reconciler.diffbot import DiffbotSweep
from receiver.reconciler.outscraper import OutscraperSweep
from receiver.reconciler.report import Repair, SweepSummary, TaskOutcome
from receiver.reconciler.sweep_run import Sweep, SweepRun, run

__all__ = [
    "DataForSeoSweep",
    "DiffbotSweep",
    "OutscraperSweep",
    "Repair",
    "Sweep",
    "SweepRun",
    "SweepSummary",
    "TaskOutcome",
    "run",
]
