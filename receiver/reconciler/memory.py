"""What is remembered from sweep to sweep, while the process lives."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from receiver.reconciler.report import Report
from receiver.reconciler.unfinished import Wanted


@dataclass(slots=True)
class Memory:
    """Keeps a task that fails again and again from standing in the way of others."""

    # Lost for good, and told.
    lost: set[str] = field(default_factory=set)
    # Failed when they were last tried.
    failed: set[str] = field(default_factory=set)
    # Answered with more than this process takes, and what was said of that.
    too_large: dict[str, str] = field(default_factory=dict)

    def take(self, report: Report) -> None:
        """Learn from a sweep that has ended."""
        self.lost |= report.lost
        for repair in report.repairs:
            if repair.outcome == "failed":
                self.failed.add(repair.task_id)
            else:
                self.failed.discard(repair.task_id)

    def order(self, tasks: Iterable[Wanted]) -> list[Wanted]:
        """Return tasks in the order to try them: the oldest first, what failed before last."""
        return sorted(tasks, key=lambda task: (task.task_id in self.failed, task.since_us or 0))
