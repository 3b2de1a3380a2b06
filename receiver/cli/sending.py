"""Options shared by `replay` and `forward`, and the progress bar of a replay."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

import click
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from receiver.archive.schema import Entry
from receiver.cli.bars import bar
from receiver.replay.sending import SendOutcome

F = TypeVar("F", bound=Callable[..., Any])

# Failures that are listed at the end.
LISTED_MAX = 1000
_REDRAW_SECONDS = 0.1


def send_options(command: F) -> F:
    """Add the options that say how to send."""
    options = (
        click.option(
            "--rate", type=click.FloatRange(0, min_open=True), help="Maximum requests per second."
        ),
        click.option(
            "--concurrency",
            type=click.IntRange(1, 1024),
            default=16,
            show_default=True,
            help="Number of concurrent requests.",
        ),
        click.option("--gzip", is_flag=True, help="Compress again what came as gzip."),
    )
    for option in reversed(options):
        command = option(command)
    return command


class SendingBar:
    """Shows the progress of a replay on a terminal, and keeps its first failures."""

    def __init__(self, what: str, *, total: int) -> None:
        self._bar = bar(
            TextColumn(what),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:.0f}/s {task.fields[failed]} failed"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._task = self._bar.add_task("", total=total, rate=0.0, failed=0)
        self._began = time.monotonic()
        self._redraw_at = 0.0
        self._settled = 0
        self._failed = 0
        self.failed: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def __call__(self, entry: Entry, outcome: SendOutcome) -> None:
        """Count a callback that is settled."""
        self._settled += 1
        if not outcome.confirmed:
            self._failed += 1
            if len(self.failed) < LISTED_MAX:
                facts = {"task_id": entry.task_id, "attempts": outcome.attempts}
                self.failed.append({"delivery_id": entry.delivery_id, **facts, "why": outcome.why})
        now = time.monotonic()
        if now >= self._redraw_at:
            self._redraw_at = now + _REDRAW_SECONDS
            self._update(now)

    def stop(self) -> None:
        """Show the last state and stop drawing."""
        self._update(time.monotonic())
        self._bar.stop()

    def _update(self, now: float) -> None:
        rate = self._settled / max(now - self._began, 1e-3)
        self._bar.update(self._task, completed=self._settled, rate=rate, failed=self._failed)
