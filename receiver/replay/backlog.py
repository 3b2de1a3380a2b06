"""What a forwarder has begun and not settled, and how far it is.

A segment is new until its entries are read, then begun, and part of the position once each of its
callbacks is settled: confirmed, or given up.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from operator import itemgetter

from receiver import clock
from receiver.archive import keys
from receiver.archive.schema import Entry
from receiver.replay.arrivals import hours_around, new_keys
from receiver.replay.position import Position
from receiver.store import Store

# The interval between looks for late segments.
LATE_SECONDS = 600.0


@dataclass(slots=True)
class BegunSegment:
    """A segment that is being forwarded."""

    name: str
    day: date
    # Arrivals of the callbacks that are not settled, by delivery id, in order of arrival.
    unsettled: dict[str, int] = field(default_factory=dict)


class Backlog:
    """The begun segments of a forwarder, and its position.

    Segments are begun and settled by the event loop's thread alone.  ``late_days`` is how many days
    after its arrival a segment may still come.
    """

    def __init__(
        self, store: Store, position: Position, *, late_days: int, now_us: Callable[[], int]
    ) -> None:
        self.position = position
        # Whether the position has changed since it was last written.
        self.changed = False
        self._store = store
        self._late_days = late_days
        self._now_us = now_us
        self._begun: dict[str, BegunSegment] = {}
        self._looked_late = -LATE_SECONDS
        # The index's days at the last look for late segments.
        self._days: list[date] = []

    @property
    def lag_seconds(self) -> float:
        """Age of the oldest callback that was found and is not settled."""
        oldest = min(
            (
                arrival
                for segment in list(self._begun.values())
                # The first is the oldest.
                for arrival in list(segment.unsettled.values())[:1]
            ),
            default=None,
        )
        return 0.0 if oldest is None else max(0.0, (self._now_us() - oldest) / 1e6)

    # New segments.

    @property
    def is_late_look_due(self) -> bool:
        """Whether to look for late segments, not only for those of the hours around now."""
        return time.monotonic() - self._looked_late >= LATE_SECONDS

    def new_keys(self, *, late: bool) -> list[str]:
        """Return the keys of new segments' index objects.  Blocks, and raises `StoreError`."""
        prefixes = hours_around(self._now_us())
        if late:
            self._looked_late = time.monotonic()
            self._days = keys.days(self._store.folders(keys.INDEX))
            first, last = self.position.from_day, self._today() + timedelta(days=1)
            prefixes = [
                keys.day_prefix(keys.INDEX, day) for day in self._days if first <= day <= last
            ]
        return new_keys(self._store, prefixes, known=self._knows)

    def _knows(self, segment: str) -> bool:
        return segment in self._begun or self.position.has(segment)

    def begin(self, indexes: Mapping[str, list[Entry]]) -> list[Entry]:
        """Begin segments, given by the keys of their index objects; return entries by arrival.

        What arrived before the position's beginning is left out.
        """
        merged: list[tuple[int, str, Entry]] = []
        for key, found in indexes.items():
            segment = BegunSegment(keys.segment_of(key), keys.day_of(key))
            self._begun[segment.name] = segment
            for entry in found:
                at_us = clock.read_rfc3339(entry.received_at)
                if at_us >= self.position.since_us:
                    segment.unsettled[entry.delivery_id] = at_us
                    merged.append((at_us, entry.delivery_id, entry))
            self._end_if_settled(segment)
        merged.sort(key=itemgetter(0, 1))
        return [entry for *_, entry in merged]

    # Settled ones.

    def settle(self, entry: Entry) -> None:
        """Take note that a callback was confirmed or given up."""
        segment = self._begun[entry.segment]
        del segment.unsettled[entry.delivery_id]
        self._end_if_settled(segment)

    def _end_if_settled(self, segment: BegunSegment) -> None:
        if not segment.unsettled:
            self.position.add(segment.name, segment.day)
            self.changed = True
            del self._begun[segment.name]

    def move_on(self) -> None:
        """Leave days behind after a look for late segments, all of which are begun or settled.

        As many later days must be in the index: a clock that is ahead for a moment adds only a day
        or two, and a day that was left behind is never looked at again.
        """
        if len(self._days) <= self._late_days:
            return
        day = min(self._today() - timedelta(days=self._late_days), self._days[-self._late_days - 1])
        if self.position.move_on(min((day, *(s.day for s in self._begun.values())))):
            self.changed = True

    def abandon(self) -> None:
        """Forget the begun segments, which are new again to the next forwarder."""
        self._begun.clear()

    def _today(self) -> date:
        return keys.day_at(self._now_us())
