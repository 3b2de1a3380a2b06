"""The report of a sweep: a line for each task, and a summary."""

import collections
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import orjson

from receiver import clock, metrics
from receiver.archive.keys import day_folder
from receiver.store import Store

_log = logging.getLogger(__name__)

# repaired   no callback came; the result was fetched
# collected  a callback came, without the result; the result was fetched
# resent     the provider was asked to send the callback again
# wanted     would have been fetched if this were not a dry run
# pending    not finished at the provider yet; the next sweep tries again
# failed     could not be fetched; the next sweep tries again
# lost       the provider no longer has the result
TaskOutcome = Literal["repaired", "collected", "resent", "wanted", "pending", "failed", "lost"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """A line of the report: one task, and what became of it."""

    provider: str
    task_id: str
    outcome: TaskOutcome
    # The path of the API that it was, or would be, fetched from.
    how: str
    # Why it was missing, if the provider says.
    why: str | None = None
    tag: str | None = None
    missing_seconds: float | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSummary:
    """The figures of a sweep; the last line of its report."""

    sweep: str
    provider: str
    instance: str
    generation: int
    began_at: str
    ended_at: str
    dry_run: bool
    listed: int
    # Not ours by tag or URL; too young to count as missing; already in the archive or the spool.
    foreign: int
    young: int
    held: int
    outcomes: Mapping[str, int]
    alarms: tuple[str, ...]

    @property
    def failed(self) -> bool:
        """Whether something needs attention."""
        return bool(self.outcomes.get("failed") or self.outcomes.get("lost") or self.alarms)


@dataclass(slots=True)
class Report:
    """A report that grows during a sweep and is written at its end."""

    provider: str
    instance: str
    dry_run: bool
    # Removes secrets from what a provider said.
    hide: Callable[[str], str] = str
    id: str = field(default_factory=clock.new_id)
    began_at_us: int = field(default_factory=clock.now_us)
    generation: int = 0
    listed: int = 0
    foreign: int = 0
    young: int = 0
    held: int = 0
    repairs: list[Repair] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)

    def add(self, repair: Repair) -> None:
        """Add a line; count it and log it unless this is a dry run."""
        self.repairs.append(repair)
        if self.dry_run:
            return
        metrics.swept.labels(self.provider, repair.outcome).inc()
        level = logging.ERROR if repair.outcome in ("lost", "failed") else logging.INFO
        _log.log(level, "repair", extra=asdict(repair))

    @property
    def lost(self) -> set[str]:
        """The tasks that are lost for good."""
        return {repair.task_id for repair in self.repairs if repair.outcome == "lost"}

    def summary(self) -> SweepSummary:
        """Return the figures so far."""
        outcomes = collections.Counter[str](repair.outcome for repair in self.repairs)
        return SweepSummary(
            sweep=self.id,
            provider=self.provider,
            instance=self.instance,
            generation=self.generation,
            began_at=clock.rfc3339(self.began_at_us),
            ended_at=clock.rfc3339(clock.now_us()),
            dry_run=self.dry_run,
            listed=self.listed,
            foreign=self.foreign,
            young=self.young,
            held=self.held,
            outcomes=dict(outcomes),
            alarms=tuple(map(self.hide, self.alarms)),
        )

    def write(self, store: Store) -> None:
        """Write the report to the archive; it is in the bucket on return."""
        store.put(f"sweeps/{day_folder(self.began_at_us)}/{self.id}.jsonl", b"".join(self._lines()))

    def _lines(self) -> Iterator[bytes]:
        for repair in self.repairs:
            task = asdict(repair)
            texts = {name: self.hide(text) for name, text in task.items() if isinstance(text, str)}
            yield _line({"type": "task", **task, **texts})
        yield _line({"type": "summary", **asdict(self.summary())})


def _line(row: dict[str, Any]) -> bytes:
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
