"""One replay: from entries to a summary."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from receiver.archive.schema import Entry
from receiver.replay.job import Job, Recorded
from receiver.replay.reading import Item, read
from receiver.replay.request import Form
from receiver.replay.sending import Sender, SendOutcome
from receiver.store import Store


@dataclass(slots=True)
class ReplaySummary:
    """The figures of a replay; ``bytes`` are those of the confirmed bodies."""

    confirmed: int = 0
    failed: int = 0
    bytes: int = 0
    retries: int = 0
    seconds: float = 0.0


class ReplayProgress(Protocol):
    """Is told of each callback once it is confirmed or given up."""

    def __call__(self, entry: Entry, outcome: SendOutcome) -> None:
        """Take note."""
        ...


async def replay(
    entries: Callable[[], Iterable[Entry]],
    *,
    store: Store,
    form: Form,
    sender: Sender,
    summary: ReplaySummary,
    job: Job | None,
    progress: ReplayProgress,
) -> None:
    """Send what ``entries`` yields, in that order; each is counted in ``summary`` once settled.

    With a job, callbacks that it has confirmed are left out, and each outcome is in its file before
    it is counted.  Raises `TargetError`, or `StoreError` if the archive or the job file fails; the
    next run of the job sends what was not settled.
    """
    began = time.monotonic()

    def done(item: Item, outcome: SendOutcome) -> None:
        if job is not None:
            identifier = item.entry.delivery_id
            job.record([Recorded(identifier, outcome.confirmed, outcome.attempts, outcome.why)])
        if outcome.confirmed:
            summary.confirmed += 1
            summary.bytes += item.entry.body_bytes
        else:
            summary.failed += 1
        summary.retries = sender.retries
        summary.seconds = round(time.monotonic() - began, 3)
        progress(item.entry, outcome)

    def remaining() -> Iterable[Entry]:
        return entries() if job is None else job.unconfirmed(entries())

    await sender.run(read(store, remaining, form), done)
