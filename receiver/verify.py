"""Verifying: the archive holds every segment and line that its index claims, without gaps.

For each index object of a period: its lines are all there and count themselves right; each
callbacks object that it names exists, is as long as its members together, and, unless that is to
be quick, inflates, and holds at each place the line of that delivery and no line besides.  The
numbers of each process's segments have no gap, and no callbacks object is without an index.
"""

import collections
import functools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from receiver.archive.reading import Entry, entries, inflate
from receiver.errors import NotFound, StoreError
from receiver.segment import process_of
from receiver.store import Store

_AT_ONCE = 8


class _Line(msgspec.Struct):
    delivery_id: str
    body_bytes: int


_LINE = msgspec.json.Decoder(_Line)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is not as it should be."""

    # gap, orphan, missing, damage or count
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
    lines: int
    bytes: int
    objects: frozenset[str]
    findings: list[Finding]


def verify(
    store: Store,
    *,
    since: datetime,
    until: datetime,
    quick: bool = False,
    verified: Callable[[int], None] = lambda segments: None,
) -> Verified:
    """Verify all partitions that a half-open period touches.

    Holds one index object and one member of a callbacks object for each of a few threads, and the
    names of one day's objects.  ``verified`` is told how many segments are done.
    Raises `StoreError` where the store cannot be asked.
    """
    findings: list[Finding] = []
    numbers: dict[str, set[int]] = collections.defaultdict(set)
    segments = lines = size = 0
    # A segment that was begun before midnight names objects of two days.
    named: set[str] = set()
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="verify") as pool:
        for day in _days(since, until):
            sizes = {found.key: found.bytes for found in store.list(f"callbacks/date={day}/")}
            keys = (found.key for found in store.list(f"index/date={day}/"))
            check = functools.partial(_segment, store, sizes=sizes, quick=quick)
            for done in _bounded(pool, check, keys):
                segments += 1
                lines += done.lines
                size += done.bytes
                named |= done.objects
                findings += done.findings
                numbers[process_of(done.name)].add(int(done.name.rpartition("-")[2]))
                verified(segments)
            findings += (
                Finding(what="orphan", where=key, detail="no index names it: shipping did not end")
                for key in sorted(sizes.keys() - named)
            )
            named -= sizes.keys()
    findings += _gaps(numbers)
    return Verified(segments=segments, lines=lines, bytes=size, findings=tuple(findings))


def _segment(store: Store, key: str, *, sizes: dict[str, int], quick: bool) -> _Segment:
    name = key.rpartition("/")[2].partition(".")[0]
    done = _Segment(name, 0, 0, frozenset(), [])
    try:
        listed = entries(store.get(key))
    except NotFound:
        return done  # removed since it was listed
    except StoreError as exc:
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
        done.findings += _object(store, name, held, sizes, quick=quick)
        done.bytes += sizes.get(name, 0)
    return done


def _object(
    store: Store, name: str, held: list[Entry], sizes: dict[str, int], *, quick: bool
) -> Iterator[Finding]:
    members = sorted({(entry.member_offset, entry.member_bytes) for entry in held})
    ends = [0, *(offset + length for offset, length in members)]
    whole = [offset for offset, _ in members] == ends[:-1]
    size = sizes.get(name)
    if size is None:
        # Beyond the period's partitions, or gone.
        try:
            store.get(name, length=1)
        except NotFound:
            yield Finding(what="missing", where=name, detail="the index names it")
            return
    if not whole or (size is not None and size != ends[-1]):
        detail = f"{size} bytes, and its index accounts for {ends[-1]}"
        yield Finding(what="damage", where=name, detail=detail)
    if not quick:
        yield from _members(store, name, held, members)


def _members(
    store: Store, name: str, held: list[Entry], members: Iterable[tuple[int, int]]
) -> Iterator[Finding]:
    by_member: dict[int, list[Entry]] = collections.defaultdict(list)
    for entry in held:
        by_member[entry.member_offset].append(entry)
    for offset, length in members:
        try:
            member = store.get(name, start=offset, length=length)
            content = inflate(member, gzip=name.endswith(".gz"))
        except StoreError as exc:
            yield Finding(what="damage", where=f"{name}@{offset}", detail=str(exc))
            continue
        yield from _lines(content, f"{name}@{offset}", by_member[offset])


def _lines(content: bytes, where: str, held: list[Entry]) -> Iterator[Finding]:
    counted = content.count(b"\n")
    if counted != len(held):
        detail = f"{counted} lines, {len(held)} in the index"
        yield Finding(what="count", where=where, detail=detail)
    for entry in held:
        end = entry.line_offset + entry.line_bytes
        try:
            line = _LINE.decode(content[entry.line_offset : end])
        except msgspec.MsgspecError as exc:
            yield Finding(what="damage", where=where, detail=f"{entry.delivery_id}: {exc}")
            continue
        if (line.delivery_id, line.body_bytes) != (entry.delivery_id, entry.body_bytes):
            detail = f"{line.delivery_id} stands where {entry.delivery_id} should"
            yield Finding(what="damage", where=where, detail=detail)


def _gaps(numbers: dict[str, set[int]]) -> Iterator[Finding]:
    for process, seen in sorted(numbers.items()):
        missing = sorted(set(range(min(seen), max(seen) + 1)) - seen)
        if missing:
            some = ", ".join(map(str, missing[:10]))
            detail = f"{len(missing)} segments are missing: {some}"
            yield Finding(what="gap", where=process, detail=detail)


def _days(since: datetime, until: datetime) -> Iterator[str]:
    day = since.astimezone(UTC).date()
    while day <= (until.astimezone(UTC) - timedelta(microseconds=1)).date():
        yield day.isoformat()
        day += timedelta(days=1)


def _bounded(
    pool: ThreadPoolExecutor, work: Callable[[str], _Segment], keys: Iterable[str]
) -> Iterator[_Segment]:
    """Map over keys in order, with no more than a few results waiting."""
    waiting: collections.deque[Future[_Segment]] = collections.deque()
    for key in keys:
        waiting.append(pool.submit(work, key))
        if len(waiting) >= _AT_ONCE * 2:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
