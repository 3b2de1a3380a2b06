"""What is remembered from sweep to sweep, while the process lives."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from receiver.reconciler.report import Report
from receiver.reconciler.unfinished import Wanted

# Of each kind; what is forgotten costs a call and a line of a report.
_MOST = 100_000


@dataclass(slots=True)
class Memory:
    """Keeps a task that fails again and again from standing in the way of others.

    Of tasks the newest are remembered, in the order in which they are forgotten.
    """

    # Lost for good, and told.
    lost: dict[str, None] = field(default_factory=dict)
    # Failed when they were last tried.
    failed: dict[str, None] = field(default_factory=dict)
    # Answered with more than this process takes, and what was said of that.
    too_large: dict[str, str] = field(default_factory=dict)
    # Among the lists of what is unfinished, and none; and told.
    foreign: frozenset[str] = frozenset()

    def take(self, report: Report) -> None:
        """Learn from a sweep that has ended."""
        self.lost.update(dict.fromkeys(report.lost))
        for repair in report.repairs:
            self.failed.pop(repair.task_id, None)
            if repair.outcome == "failed":
                self.failed[repair.task_id] = None
        for known in (self.lost, self.failed, self.too_large):
            _forget_oldest(known)

    def order(self, tasks: Iterable[Wanted]) -> list[Wanted]:
        """Return tasks in the order to try them: the oldest first, what failed before last."""
        return sorted(tasks, key=lambda task: (task.task_id in self.failed, task.since_us or 0))


def _forget_oldest(known: dict[str, Any]) -> None:
    for task_id in list(islice(known, max(0, len(known) - _MOST))):
        del known[task_id]
