"""What a sweep found and did: one line a task, and a summary."""

import collections
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import orjson

from receiver import clock, metrics
from receiver.store import Store

_log = logging.getLogger(__name__)

# repaired   the callback never came; its result was fetched
# collected  the callback came and said only that there is a result; that was fetched
# resent     the provider was asked to send the callback again
# wanted     would have been fetched, had this not been a dry run
# pending    not finished at the provider; the next sweep looks again
# failed     could not be fetched now; the next sweep tries again
# lost       the provider has it no longer
TaskOutcome = Literal["repaired", "collected", "resent", "wanted", "pending", "failed", "lost"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """One task that a sweep dealt with."""

    provider: str
    task_id: str
    outcome: TaskOutcome
    # How it was or would be repaired: a path of the API.
    how: str
    # Why it was missing, as far as the provider says.
    why: str | None = None
    tag: str | None = None
    missing_seconds: float | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSummary:
    """What a sweep came to."""

    sweep: str
    provider: str
    instance: str
    generation: int
    began_at: str
    ended_at: str
    dry_run: bool
    listed: int
    # Not ours by tag or URL; too young to be called missing; already in the archive or spool.
    foreign: int
    young: int
    held: int
    outcomes: Mapping[str, int]
    alarms: tuple[str, ...]

    @property
    def failed(self) -> bool:
        """Whether anything needs another look."""
        return bool(self.outcomes.get("failed") or self.outcomes.get("lost") or self.alarms)


@dataclass(slots=True)
class Report:
    """Grows with a sweep, and is written at its end."""

    provider: str
    instance: str
    dry_run: bool
    # Takes secrets out of what a provider said.
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
        """Take a repair down, count it, and log it."""
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
        """Return what it came to so far."""
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
        """Put the report into the archive."""
        date, _ = clock.partition(self.began_at_us)
        store.put(f"sweeps/date={date}/{self.id}.jsonl", b"".join(self._lines()))

    def _lines(self) -> Iterator[bytes]:
        for repair in self.repairs:
            task = asdict(repair)
            texts = {name: self.hide(text) for name, text in task.items() if isinstance(text, str)}
            yield _line({"type": "task", **task, **texts})
        yield _line({"type": "summary", **asdict(self.summary())})


def _line(row: dict[str, Any]) -> bytes:
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
