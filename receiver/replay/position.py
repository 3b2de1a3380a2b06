"""The position of a forwarder: which segments of the archive are settled.

    forwards/<name>/position.json

A moment would not do, because segments can be archived late.  Each server process numbers its
segments without gaps, so the position is a few ranges of numbers for each process.  They are
dropped once no more segments can come for the days that they are filed under.
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

# What every reader of JSON has; JSON itself has no largest integer.
_Number = Annotated[int, msgspec.Meta(ge=0, le=(1 << 53) - 1)]


class _ProcessRuns(msgspec.Struct):
    # The newest day that one of its segments is filed under.
    day: date
    # First and last of each run of numbers, in order.
    done: list[tuple[_Number, _Number]]


class _PositionFile(msgspec.Struct):
    since_us: _Number
    from_day: date
    generation: int = 0
    written_at: str = ""
    processes: dict[str, _ProcessRuns] = {}


_FILE = msgspec.json.Decoder(_PositionFile)


class Position:
    """Which segments are done; ``since_us`` is the moment from which on callbacks are forwarded."""

    def __init__(self, since_us: int) -> None:
        # A segment is filed under its first record, so one of the day before can hold later ones.
        self._file = _PositionFile(since_us=since_us, from_day=day_at(since_us) - timedelta(days=1))

    @classmethod
    def read(cls, content: bytes) -> "Position":
        """Return the position that `content` made.  Raises `Damaged`."""
        position = cls(0)
        try:
            position._file = _FILE.decode(content)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            raise Damaged(f"the position of the forwarding is damaged: {exc}") from exc
        return position

    @property
    def since_us(self) -> int:
        """Callbacks that arrived before this moment are not forwarded."""
        return self._file.since_us

    @property
    def from_day(self) -> date:
        """Segments that are filed under an earlier day are not forwarded any more."""
        return self._file.from_day

    def content(self, *, generation: int, written_at: str) -> bytes:
        """Return the position as it is stored; ``generation`` is the lease's."""
        self._file.generation = generation
        self._file.written_at = written_at
        return msgspec.json.encode(self._file)

    def has(self, segment: str) -> bool:
        """Return whether a segment is done."""
        process = self._file.processes.get(process_of(segment))
        if process is None:
            return False
        number = number_of(segment)
        at = bisect.bisect_right(process.done, number, key=lambda run: run[0])
        return at > 0 and number <= process.done[at - 1][1]

    def add(self, segment: str, day: date) -> None:
        """Mark a segment, which is filed under ``day``, as done."""
        name, number = process_of(segment), number_of(segment)
        process = self._file.processes.setdefault(name, _ProcessRuns(day=day, done=[]))
        process.day = max(process.day, day)
        if not self.has(segment):
            process.done = list(_joined(sorted([*process.done, (number, number)])))

    def move_on(self, day: date) -> bool:
        """Leave all days before this one behind; return whether that is a change."""
        if day <= self._file.from_day:
            return False
        self._file.from_day = day
        processes = self._file.processes
        self._file.processes = {
            name: process for name, process in processes.items() if process.day >= day
        }
        return True


class Stored:
    """The position in the bucket, written only by the holder of the lease."""

    def __init__(self, store: Store, key: str) -> None:
        self._store = store
        self._key = key
        self._etag: str | None = None
        # Content of the last attempted write, successful or not.
        self._attempted: bytes | None = None

    def read(self) -> Position:
        """Return the position.  Raises `NotFound` and `Damaged`."""
        self._etag = None
        content, self._etag = self._store.get_with_etag(self._key)
        return Position.read(content)

    def write(self, content: bytes) -> None:
        """Replace what was read or written last.  Raises `LeaseLost` if another has written."""
        ours = (self._attempted, content)
        self._attempted = content
        try:
            self._etag = self._put(content, ours)
        except (Conflict, NotFound) as exc:
            raise LeaseLost(f"another instance has written {self._key}") from exc

    def _put(self, content: bytes, ours: tuple[bytes | None, ...]) -> str:
        try:
            return self._store.put_if(self._key, content, etag=self._etag)
        except Conflict:
            found, etag = self._store.get_with_etag(self._key)
            if found not in ours:
                raise
            # This instance wrote it, but the reply was lost.
            return self._store.put_if(self._key, content, etag=etag)


def _joined(runs: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield runs, joining those without a gap between them."""
    first, last = runs[0]
    for start, end in runs[1:]:
        if start > last + 1:
            yield first, last
            first = start
        last = end
    yield first, last
