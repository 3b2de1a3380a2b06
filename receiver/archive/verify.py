"""Verifying: the archive holds every segment and line that its index claims, without gaps.

For each index object of a period: its entries are complete and number themselves correctly; each
callbacks object that it names exists and is as long as its members together; and, unless asked to
be quick, each member passes its checksum and holds, at each place, the line of that entry, and no
other line.  The numbers of each process's segments have no gap, and no callbacks object is without
an index.

Shipping may go on meanwhile: whatever seems to be missing is looked for once more.
"""

import collections
import functools
import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from receiver import clock
from receiver.archive import index, keys
from receiver.archive.checking import Finding, check_lines, check_size
from receiver.archive.schema import Entry
from receiver.errors import NotFound, StoreError
from receiver.spool.segment import number_of, process_of
from receiver.store import Store
from receiver.store.ahead import map_ahead

_AT_ONCE = 8
_AHEAD = 2 * _AT_ONCE
# Missing segments that are named; the others are counted.
_NAMED_MAX = 10
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """The extent of what was verified, and the findings."""

    segments: int
    lines: int
    bytes: int
    findings: tuple[Finding, ...]


@dataclass(slots=True)
class _IndexChecked:
    """The result of checking one index object and all that it names."""

    name: str
    lines: int = 0
    bytes: int = 0
    readable: bool = True
    objects: frozenset[str] = frozenset()
    findings: list[Finding] = field(default_factory=list)


@dataclass(slots=True)
class _Numbers:
    """The number of segments of a process, and the first and last of their numbers."""

    count: int
    first: int
    last: int


class _Stopped(Exception):
    """Nobody waits for the result any more."""


def verify(
    store: Store,
    *,
    since: datetime,
    until: datetime,
    quick: bool = False,
    verified: Callable[[int, int], None] = lambda segments, size: None,
) -> Verified:
    """Verify every archived day that overlaps the half-open period.

    Each of a few threads holds one index object and a span of a callbacks object; besides, the
    keys of one day are held.  ``verified`` is called with the segments and bytes verified so far.
    Raises `StoreError` where the store fails.
    """
    first = since.astimezone(UTC).date()
    last = (until.astimezone(UTC) - timedelta(microseconds=1)).date()
    return _Verifier(store, first, last, quick=quick, verified=verified).verify()


class _Verifier:
    def __init__(
        self,
        store: Store,
        first: date,
        last: date,
        *,
        quick: bool,
        verified: Callable[[int, int], None],
    ) -> None:
        self._store = store
        self._first = first
        self._last = last
        self._quick = quick
        self._verified = verified
        self._stopping = threading.Event()
        self._segments = self._lines = self._bytes = 0
        self._findings: list[Finding] = []
        self._numbers: dict[str, _Numbers] = {}
        # A segment that was begun before midnight names objects of two days.
        self._named: set[str] = set()

    def verify(self) -> Verified:
        pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="verify")
        try:
            for day in self._days():
                self._day(pool, day)
        finally:
            # After an interrupt, do not wait for a store that does not answer.
            self._stopping.set()
            pool.shutdown(wait=False, cancel_futures=True)
        self._findings += self._gaps()
        return Verified(
            segments=self._segments,
            lines=self._lines,
            bytes=self._bytes,
            findings=tuple(self._findings),
        )

    def _days(self, *, beside: int = 0) -> list[date]:
        """Return the archived days of the period, and those up to ``beside`` days around it."""
        tops = (keys.CALLBACKS, keys.INDEX)
        folders = itertools.chain.from_iterable(map(self._store.folders, tops))
        return [
            day
            for day in keys.days(folders)
            if (self._first - day).days <= beside and (day - self._last).days <= beside
        ]

    def _day(self, pool: ThreadPoolExecutor, day: date) -> None:
        # Listed before the index, so that the index object of each has been written by then.
        listed = self._store.list(keys.day_prefix(keys.CALLBACKS, day))
        sizes = {found.key: found.bytes for found in listed}
        check = functools.partial(self._check_index, sizes=sizes)
        unreadable = set()
        for done in map_ahead(pool, check, self._index_keys(day), ahead=_AHEAD):
            self._segments += 1
            self._lines += done.lines
            self._bytes += done.bytes
            self._named |= done.objects
            self._findings += done.findings
            self._count(done.name)
            if not done.readable:
                unreadable.add(done.name)
            self._verified(self._segments, self._bytes)
        nameless = {
            key for key in sizes.keys() - self._named if keys.segment_of(key) not in unreadable
        }
        self._findings += self._orphans(day, sorted(nameless))
        self._named -= sizes.keys()

    def _index_keys(self, day: date) -> Iterator[str]:
        for found in self._store.list(keys.day_prefix(keys.INDEX, day)):
            if keys.is_index(found.key):
                yield found.key
            else:
                detail = "it is not the index of a segment"
                self._findings.append(Finding(what="foreign", where=found.key, detail=detail))

    def _check_index(self, key: str, *, sizes: dict[str, int]) -> _IndexChecked:
        done = _IndexChecked(keys.segment_of(key))
        try:
            held = index.read(key, self._store.get(key))
        except NotFound:
            return done  # removed since it was listed
        except StoreError as exc:
            done.readable = False
            done.findings.append(Finding(what="damage", where=key, detail=str(exc)))
            return done
        done.lines = len(held.entries)
        if held.damaged:
            # What the damaged ones name is not known.
            done.readable = False
            done.findings += _damage(key, held)
        elif _is_misnumbered(held.entries):
            detail = f"its {done.lines} entries do not number themselves correctly"
            done.findings.append(Finding(what="count", where=key, detail=detail))
        elif held.entries and held.entries[0].received_at[:13] != keys.hour_of(key):
            detail = "it is filed under another hour than its first entry"
            done.findings.append(Finding(what="damage", where=key, detail=detail))
        by_object: dict[str, list[Entry]] = collections.defaultdict(list)
        for entry in held.entries:
            by_object[entry.object].append(entry)
        done.objects = frozenset(by_object)
        for name, of_object in by_object.items():
            size = sizes.get(name)
            if size is None:
                size = self._size(name)
            done.findings += self._check_object(name, of_object, size)
            done.bytes += size or 0
        return done

    def _check_object(self, name: str, held: list[Entry], size: int | None) -> Iterator[Finding]:
        if size is None:
            yield Finding(what="missing", where=name, detail="the index names it")
            return
        yield from check_size(name, held, size)
        if not self._quick:
            yield from check_lines(name, held, self._get)

    def _get(self, key: str, *, start: int, length: int) -> bytes:
        if self._stopping.is_set():
            raise _Stopped
        return self._store.get(key, start=start, length=length)

    def _size(self, name: str) -> int | None:
        """Return the size of an object of another day, or of one shipped meanwhile."""
        return next((found.bytes for found in self._store.list(name) if found.key == name), None)

    def _orphans(self, day: date, objects: list[str]) -> Iterator[Finding]:
        """Yield the objects that no index names: neither the day before's nor one shipped since."""
        if not objects:
            return
        wanted = set(map(keys.segment_of, objects))
        named: set[str] = set()
        for other in (day - _DAY, day):
            for found in self._store.list(keys.day_prefix(keys.INDEX, other)):
                if keys.segment_of(found.key) in wanted:
                    named |= self._names(found.key)
        for key in objects:
            if key not in named:
                detail = "no index names it: shipping did not end"
                yield Finding(what="orphan", where=key, detail=detail)

    def _names(self, key: str) -> set[str]:
        try:
            return {entry.object for entry in index.read(key, self._store.get(key)).entries}
        except StoreError:
            return set()

    def _count(self, name: str) -> None:
        process, number = process_of(name), number_of(name)
        known = self._numbers.setdefault(process, _Numbers(0, number, number))
        known.count += 1
        known.first = min(known.first, number)
        known.last = max(known.last, number)

    def _gaps(self) -> Iterator[Finding]:
        incomplete: dict[str, tuple[int, set[int]]] = {}
        for process, known in self._numbers.items():
            # A process that began within the period has no segment before it.
            began = keys.day_at(clock.id_time_us(process))
            first = 0 if began >= self._first else known.first
            if known.count != known.last - first + 1:
                incomplete[process] = (first, set())
        if not incomplete:
            return
        # List again: a new day may have begun.  And a clock that was wrong around midnight files a
        # segment under another day than its neighbours.
        for day in self._days(beside=1):
            for found in self._store.list(keys.day_prefix(keys.INDEX, day)):
                name = keys.segment_of(found.key)
                if keys.is_index(found.key) and process_of(name) in incomplete:
                    incomplete[process_of(name)][1].add(number_of(name))
        for process, (first, held) in sorted(incomplete.items()):
            detail = _missing(first, self._numbers[process].last, held)
            if detail:
                yield Finding(what="gap", where=process, detail=detail)


def _is_misnumbered(entries: list[Entry]) -> bool:
    positions = [entry.position for entry in entries]
    return positions != list(range(len(entries))) or any(e.of != len(entries) for e in entries)


def _missing(first: int, last: int, held: set[int]) -> str:
    """Return which numbers from ``first`` to ``last`` are not held, "" if all are.

    Any name can be in a bucket, so the numbers themselves may be too many to be held.
    """
    within = {number for number in held if first <= number <= last}
    missing = last - first + 1 - len(within)
    if not missing:
        return ""
    absent = (number for number in range(first, last + 1) if number not in within)
    some = ", ".join(map(str, itertools.islice(absent, _NAMED_MAX)))
    return f"{missing} {'segment is' if missing == 1 else 'segments are'} missing: {some}"


def _damage(key: str, held: index.Index) -> Iterator[Finding]:
    """Yield the damaged entries of an index object; many are counted."""
    for detail in held.details:
        yield Finding(what="damage", where=key, detail=detail)
    more = held.damaged - len(held.details)
    if more:
        are = "entry is" if more == 1 else "entries are"
        yield Finding(what="damage", where=key, detail=f"{more} more {are} damaged")
