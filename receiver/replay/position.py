"""How far a forwarder is: which segments of the archive the target has confirmed whole.

    forwards/<name>/position.json

Segments can arrive late, so a moment would not do.  They are numbered without gaps for each server
process: what is done is a few ranges for each process, dropped when nothing can come any more for
the days that they are filed under.
"""

import bisect
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Annotated

import msgspec

from receiver.archive.keys import day_at
from receiver.errors import Conflict, Damaged, LeaseLost, NotFound
from receiver.spool.segment import number_of, process_of
from receiver.store import Store

_Number = Annotated[int, msgspec.Meta(ge=0)]


class _Process(msgspec.Struct):
    # The newest day that a segment of it is filed under.
    day: date
    # First and last of each run of numbers, in order.
    done: list[tuple[_Number, _Number]]


class _Written(msgspec.Struct):
    since_us: int
    from_day: date
    generation: int = 0
    written_at: str = ""
    processes: dict[str, _Process] = {}


_WRITTEN = msgspec.json.Decoder(_Written)


class Position:
    """Which segments are done, counted from ``since_us``, the moment the forwarding began at."""

    def __init__(self, since_us: int) -> None:
        # A segment is filed under its first record, so the day before can hold what is wanted.
        began = day_at(since_us) - timedelta(days=1)
        self._written = _Written(since_us=since_us, from_day=began)

    @classmethod
    def read(cls, content: bytes) -> "Position":
        """Return the position that `content` wrote.  Raises `Damaged`."""
        position = cls(0)
        try:
            position._written = _WRITTEN.decode(content)
        except msgspec.MsgspecError as exc:
            raise Damaged(f"the position of the forwarding is damaged: {exc}") from exc
        return position

    @property
    def since_us(self) -> int:
        """Nothing that arrived before this is forwarded."""
        return self._written.since_us

    @property
    def from_day(self) -> date:
        """Nothing that is filed under an earlier day is to be forwarded any more."""
        return self._written.from_day

    def content(self, *, generation: int, written_at: str) -> bytes:
        """Return the position as it is stored; ``generation`` is that of the lease."""
        self._written.generation = generation
        self._written.written_at = written_at
        return msgspec.json.encode(self._written)

    def has(self, segment: str) -> bool:
        """Say whether a segment is done."""
        process = self._written.processes.get(process_of(segment))
        if process is None:
            return False
        number = number_of(segment)
        at = bisect.bisect_right(process.done, number, key=lambda run: run[0])
        return at > 0 and number <= process.done[at - 1][1]

    def add(self, segment: str, day: date) -> None:
        """Take a segment as done; it is filed under ``day``."""
        name, number = process_of(segment), number_of(segment)
        process = self._written.processes.setdefault(name, _Process(day=day, done=[]))
        process.day = max(process.day, day)
        if not self.has(segment):
            process.done = list(_joined(sorted([*process.done, (number, number)])))

    def move_on(self, day: date) -> bool:
        """Take all days before this as done; return whether that is new."""
        if day <= self._written.from_day:
            return False
        self._written.from_day = day
        processes = self._written.processes
        self._written.processes = {
            name: process for name, process in processes.items() if process.day >= day
        }
        return True


class Stored:
    """The position as the bucket has it; whoever holds the lease is the only one to write it."""

    def __init__(self, store: Store, key: str) -> None:
        self._store = store
        self._key = key
        self._etag: str | None = None
        # What was to be written last, whether or not it was.
        self._attempted: bytes | None = None

    def read(self) -> Position:
        """Return it.  Raises `NotFound` and `Damaged`."""
        self._etag = None
        content, self._etag = self._store.get_with_etag(self._key)
        return Position.read(content)

    def write(self, content: bytes) -> None:
        """Write it over what was read or written last.  Raises `LeaseLost` if it is another's."""
        ours = (self._attempted, content)
        self._attempted = content
        try:
            self._etag = self._put(content, ours)
        except (Conflict, NotFound) as exc:
            raise LeaseLost(f"somebody else has written {self._key}") from exc

    def _put(self, content: bytes, ours: tuple[bytes | None, ...]) -> str:
        try:
            return self._store.put_if(self._key, content, etag=self._etag)
        except Conflict:
            found, etag = self._store.get_with_etag(self._key)
            if found not in ours:
                raise
            # It was written here, without an answer that says so.
            return self._store.put_if(self._key, content, etag=etag)


def _joined(runs: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield runs with those joined that follow each other without a gap."""
    first, last = runs[0]
    for start, end in runs[1:]:
        if start > last + 1:
            yield first, last
            first = start
        last = end
    yield first, last
