"""Bringing a catalog up to date with the index.

A day is listed in stretches of about one page of an S3 listing, cut at keys that are known, so
that several requests list even one day of many segments at once.
"""

import itertools
import sqlite3
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from receiver.archive import keys
from receiver.catalog.file import transaction
from receiver.catalog.filters import microseconds
from receiver.catalog.tables import Labels, drop, known_days, known_keys, take
from receiver.errors import NotFound
from receiver.store import Store
from receiver.store.ahead import map_ahead

_AT_ONCE = 16
_AHEAD = 4 * _AT_ONCE
# A page of a listing holds a thousand keys; some of them may be new.
_STRETCH_KEYS = 900
# A transaction takes in about 35,000 entries, or this many segments.
_BATCH_BYTES = 2 << 20
_BATCH_SEGMENTS = 256


@dataclass(frozen=True, slots=True)
class Synced:
    """What a sync took in."""

    segments: int
    entries: int


@dataclass(frozen=True, slots=True)
class _Stretch:
    """The keys of one day after ``after``, up to and including ``last``."""

    day: str
    after: str
    last: str
    # Those of them that were known before the store was asked.
    known: frozenset[str]


def sync(
    database: sqlite3.Connection,
    store: Store,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Synced:
    """Take in what is new in the hours from ``since`` to ``until``, and drop what is gone."""
    segments = taken = 0
    labels = Labels()
    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="catalog")
    try:
        new = _new_keys(database, store, pool, _bounds(since, until))
        read = map_ahead(pool, lambda key: (key, _read(store, key)), new, ahead=_AHEAD)
        for batch in _batches(read):
            with transaction(database):
                counts = [take(database, labels, key, content) for key, content in batch]
            segments += sum(count is not None for count in counts)
            taken += sum(count or 0 for count in counts)
    finally:
        pool.shutdown(cancel_futures=True)
    return Synced(segments, taken)


def _bounds(since: datetime | None, until: datetime | None) -> tuple[str, str]:
    """Return texts between which the keys of a time sort."""
    first = keys.INDEX if since is None else keys.hour_prefix(keys.INDEX, microseconds(since))
    last = keys.INDEX if until is None else keys.hour_prefix(keys.INDEX, microseconds(until))
    return first, keys.end_of(last)


def _new_keys(
    database: sqlite3.Connection, store: Store, pool: ThreadPoolExecutor, bounds: tuple[str, str]
) -> Iterator[str]:
    stretches = _stretches(database, store, bounds)
    compared = map_ahead(pool, lambda each: _compare(store, each), stretches, ahead=_AHEAD)
    for new, gone in compared:
        if gone:
            with transaction(database):
                drop(database, gone)
        yield from new


def _stretches(
    database: sqlite3.Connection, store: Store, bounds: tuple[str, str]
) -> Iterator[_Stretch]:
    # Days that are known, too: S3 does not name a folder in which nothing is left.
    known_before = known_days(database, after=bounds[0], before=bounds[1])
    for date in keys.days([*known_before, *store.folders(keys.INDEX)]):
        day = keys.day_prefix(keys.INDEX, date)
        after, before = max(day, bounds[0]), min(keys.end_of(day), bounds[1])
        if after >= before:
            continue
        known = known_keys(database, after=after, before=before)
        cuts = [after, *known[_STRETCH_KEYS::_STRETCH_KEYS], before]
        for number, (begin, end) in enumerate(itertools.pairwise(cuts)):
            first = number * _STRETCH_KEYS + bool(number)
            held = known[first : (number + 1) * _STRETCH_KEYS + 1]
            yield _Stretch(day, begin, end, frozenset(held))


def _compare(store: Store, stretch: _Stretch) -> tuple[list[str], list[str]]:
    """Return the keys of a stretch that are new, and the known ones that are gone."""
    # The known keys were read before the store is asked, so a key written meanwhile is not "gone".
    new, held = [], set(stretch.known)
    for listed in store.list(stretch.day, after=stretch.after):
        if listed.key > stretch.last:
            break
        if listed.key in held:
            held.remove(listed.key)
        elif keys.is_index(listed.key):
            new.append(listed.key)
    return new, sorted(held)


def _read(store: Store, key: str) -> bytes | None:
    try:
        return store.get(key)
    except NotFound:
        return None  # removed since it was listed


def _batches(
    read: Iterable[tuple[str, bytes | None]],
) -> Iterator[list[tuple[str, bytes | None]]]:
    batch: list[tuple[str, bytes | None]] = []
    size = 0
    for key, content in read:
        batch.append((key, content))
        size += len(content or b"")
        if size >= _BATCH_BYTES or len(batch) >= _BATCH_SEGMENTS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
