"""What a sweep remembers from run to run, for as long as the process lives."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from receiver.reconciler.journal import MissingTask
from receiver.reconciler.report import Report

# Tasks remembered in each dict.  Forgetting one costs a call and a line in a report.
_TASKS_MAX = 100_000


@dataclass(slots=True)
class SweepHistory:
    """Keeps tasks that fail again and again from holding up others.

    The dicts hold the most recent tasks, in the order in which they will be forgotten.
    """

    # Lost for good; already reported.
    lost: dict[str, None] = field(default_factory=dict)
    # Failed at their last attempt.
    failed: dict[str, None] = field(default_factory=dict)
    # Results over the size limit, with the error reported.
    too_large: dict[str, str] = field(default_factory=dict)
    # Fetched again and again without a valid result; already reported.
    given_up: dict[str, None] = field(default_factory=dict)
    # Keys among the journal's that are not its own; already reported.
    unexpected_keys: frozenset[str] = frozenset()

    def learn(self, report: Report) -> None:
        """Take over the outcomes of a run that has ended."""
        self.lost.update(dict.fromkeys(report.lost))
        for repair in report.repairs:
            self.failed.pop(repair.task_id, None)
            if repair.outcome == "failed":
                self.failed[repair.task_id] = None
        for tasks in (self.lost, self.failed, self.too_large, self.given_up):
            _forget_oldest(tasks)

    def order(self, tasks: Iterable[MissingTask]) -> list[MissingTask]:
        """Return tasks in the order to try them: oldest first, those that failed last."""
        return sorted(tasks, key=lambda task: (task.task_id in self.failed, task.since_us or 0))


def _forget_oldest(tasks: dict[str, Any]) -> None:
    for task_id in list(islice(tasks, max(0, len(tasks) - _TASKS_MAX))):
        del tasks[task_id]
