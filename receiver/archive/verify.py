"""Verifying: the archive holds every segment and line that its index claims, without gaps.

For each index object of a period: its lines are all there and count themselves right; each
callbacks object that it names exists and is as long as its members together; and, unless that is
to be quick, each member passes its checksum and holds, at each place, the line of that entry, and
no line besides.  The numbers of each process's segments have no gap, and no callbacks object is
without an index.

What is shipped meanwhile is not amiss: whatever seems to be missing is looked for once more.
"""

import collections
import contextlib
import functools
import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from receiver import clock
from receiver.archive.checking import check_lines, check_size
from receiver.archive.keys import INDEX_SUFFIX
from receiver.archive.reading import Entry, entries
from receiver.errors import NotFound, StoreError
from receiver.spool.segment import number_of, parse, process_of
from receiver.store import Store
from receiver.store.ahead import map_ahead

_AT_ONCE = 8
_AHEAD = 2 * _AT_ONCE
# Missing segments that are named; the others are counted.
_NAMED_MAX = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is not as it should be."""

    # gap, orphan, missing, damage, count or foreign
    what: str
    where: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What was looked at, and what was found."""

    segments: int
    lines: int
    bytes: int
    findings: tuple[Finding, ...]


@dataclass(slots=True)
class _Segment:
    """What one index object came to."""

    name: str
    lines: int = 0
    bytes: int = 0
    readable: bool = True
    objects: frozenset[str] = frozenset()
    findings: list[Finding] = field(default_factory=list)


@dataclass(slots=True)
class _Numbers:
    """How many segments of a process there are, and between which numbers."""

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
    """Verify all days that a half-open period touches, of those that the archive has.

    Holds, for each of a few threads, one index object and a span of a callbacks object, and the
    names of one day's objects.  ``verified`` is told how many segments and bytes are done.
    Raises `StoreError` where the store cannot be asked.
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
            # Whoever gives up does not wait for a store that does not answer.
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
        """Return the days that the archive has, of the period and of so many beside it."""
        days = set()
        for top in ("callbacks/", "index/"):
            for folder in self._store.folders(top):
                with contextlib.suppress(ValueError):  # not ours
                    days.add(date.fromisoformat(folder.removeprefix(f"{top}date=")[:-1]))
        return sorted(
            day
            for day in days
            if (self._first - day).days <= beside and (day - self._last).days <= beside
        )

    def _day(self, pool: ThreadPoolExecutor, day: date) -> None:
        # Before the index: what is there by then was there before its index object.
        sizes = {found.key: found.bytes for found in self._store.list(f"callbacks/date={day}/")}
        check = functools.partial(self._segment, sizes=sizes)
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
        nameless = (key for key in sizes.keys() - self._named if _segment_of(key) not in unreadable)
        self._findings += self._orphans(day, sorted(nameless))
        self._named -= sizes.keys()

    def _index_keys(self, day: date) -> Iterator[str]:
        for found in self._store.list(f"index/date={day}/"):
            if found.key.endswith(INDEX_SUFFIX) and parse(_segment_of(found.key)):
                yield found.key
            else:
                detail = "it is no index of a segment"
                self._findings.append(Finding(what="foreign", where=found.key, detail=detail))

    def _segment(self, key: str, *, sizes: dict[str, int]) -> _Segment:
        done = _Segment(_segment_of(key))
        try:
            listed = entries(self._store.get(key))
        except NotFound:
            return done  # removed since it was listed
        except StoreError as exc:
            done.readable = False
            done.findings.append(Finding(what="damage", where=key, detail=str(exc)))
            return done
        done.lines = len(listed)
        positions = [entry.position for entry in listed]
        if positions != list(range(len(listed))) or any(e.of != len(listed) for e in listed):
            detail = f"{len(listed)} lines, and they do not count themselves so"
            done.findings.append(Finding(what="count", where=key, detail=detail))
        by_object: dict[str, list[Entry]] = collections.defaultdict(list)
        for entry in listed:
            by_object[entry.object].append(entry)
        done.objects = frozenset(by_object)
        for name, held in by_object.items():
            size = sizes.get(name)
            if size is None:
                size = self._size(name)
            done.findings += self._object(name, held, size)
            done.bytes += size or 0
        return done

    def _object(self, name: str, held: list[Entry], size: int | None) -> Iterator[Finding]:
        if size is None:
            yield Finding(what="missing", where=name, detail="the index names it")
            return
        problems = check_size(name, held, size)
        if not self._quick:
            read = functools.partial(self._read, name)
            problems = itertools.chain(problems, check_lines(name, held, read))
        for problem in problems:
            yield Finding(what=problem.what, where=problem.where, detail=problem.detail)

    def _read(self, name: str, start: int, length: int) -> bytes:
        if self._stopping.is_set():
            raise _Stopped
        return self._store.get(name, start=start, length=length)

    def _size(self, name: str) -> int | None:
        """Return the size of an object of another day, or of one that came meanwhile."""
        return next((found.bytes for found in self._store.list(name) if found.key == name), None)

    def _orphans(self, day: date, keys: list[str]) -> Iterator[Finding]:
        """Yield the objects that no index names, not even one that came later or before."""
        if not keys:
            return
        wanted = {_segment_of(key) for key in keys}
        named: set[str] = set()
        for other in (day - timedelta(days=1), day):
            for found in self._store.list(f"index/date={other}/"):
                if _segment_of(found.key) in wanted:
                    named |= self._names(found.key)
        for key in keys:
            if key not in named:
                detail = "no index names it: shipping did not end"
                yield Finding(what="orphan", where=key, detail=detail)

    def _names(self, key: str) -> set[str]:
        try:
            return {entry.object for entry in entries(self._store.get(key))}
        except StoreError:
            return set()

    def _count(self, name: str) -> None:
        process, number = process_of(name), number_of(name)
        known = self._numbers.setdefault(process, _Numbers(0, number, number))
        known.count += 1
        known.first = min(known.first, number)
        known.last = max(known.last, number)

    def _gaps(self) -> Iterator[Finding]:
        expected = {}
        for process, known in self._numbers.items():
            # Of a process that began within the period nothing can lie before it.
            began = datetime.fromtimestamp(clock.id_time_us(process) / 1e6, UTC).date()
            first = 0 if began >= self._first else known.first
            if known.count != known.last - first + 1:
                expected[process] = set(range(first, known.last + 1))
        if not expected:
            return
        # Asked again: a day may have begun.  And a clock that went back over midnight, or was ahead
        # of it, files a segment under a day beside those of its neighbours.
        for day in self._days(beside=1):
            for found in self._store.list(f"index/date={day}/"):
                name = _segment_of(found.key)
                if parse(name) and process_of(name) in expected:
                    expected[process_of(name)].discard(number_of(name))
        for process, missing in sorted(expected.items()):
            if missing:
                some = ", ".join(map(str, sorted(missing)[:_NAMED_MAX]))
                are = "segment is" if len(missing) == 1 else "segments are"
                detail = f"{len(missing)} {are} missing: {some}"
                yield Finding(what="gap", where=process, detail=detail)


def _segment_of(key: str) -> str:
    return key.rpartition("/")[2].partition(".")[0]
