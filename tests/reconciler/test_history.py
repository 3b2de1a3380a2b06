"""What a sweep remembers from run to run."""

from typing import Any

import pytest

from receiver.reconciler import Repair
from receiver.reconciler.history import SweepHistory
from receiver.reconciler.report import Report


def test_the_history_is_bounded_and_keeps_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.reconciler.history._TASKS_MAX", 3)
    history = SweepHistory()
    history.too_large = {str(n): "too large" for n in range(5)}
    for n in range(5):
        history.learn(report({f"lost-{n}": "lost", f"failed-{n}": "failed"}))
    # One that fails again becomes the newest; one that succeeds is forgotten.
    history.learn(report({"failed-2": "failed", "failed-3": "repaired"}))
    assert ["lost-2", "lost-3", "lost-4"] == list(history.lost)
    assert ["failed-4", "failed-2"] == list(history.failed)
    assert ["2", "3", "4"] == list(history.too_large)


def report(outcomes: dict[str, Any]) -> Report:
    found = Report(provider="dataforseo", instance="here", dry_run=True)
    for task_id, outcome in outcomes.items():
        found.add(Repair(provider="dataforseo", task_id=task_id, outcome=outcome, how=""))
    return found
