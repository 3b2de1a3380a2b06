"""New segments in the archive: index objects that are not known yet, oldest first."""

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable
from datetime import date

from receiver import clock
from receiver.archive.keys import INDEX_SUFFIX
from receiver.archive.reading import Entry, entries
from receiver.errors import Damaged, NotFound
from receiver.spool.segment import number_of, process_of
from receiver.store import Store

_log = logging.getLogger(__name__)

# Entries read at a time; one segment may exceed it.
_ENTRIES_AT_ONCE = 10_000


def hours_around(now_us: int) -> list[str]:
    """Return the prefixes under which new segments appear: those of the hours around now."""
    hours = (clock.partition(now_us + hours * 3_600_000_000) for hours in (-1, 0, 1))
    return [f"index/date={day}/hour={hour}/" for day, hour in hours]


def days_of(store: Store) -> list[date]:
    """Return the days that the index has, sorted."""
    days = []
    for folder in store.folders("index/"):
        with contextlib.suppress(ValueError):  # not ours
            days.append(day_of(folder))
    return sorted(days)


def prefix_of(day: date) -> str:
    """Return the prefix of a day, under which late segments come."""
    return f"index/date={day}/"


def new_keys(store: Store, prefixes: Iterable[str], *, known: Callable[[str], bool]) -> list[str]:
    """Return the keys of index objects of segments that are not known, by hour and number."""
    found = {listed.key for prefix in prefixes for listed in store.list(prefix)}
    new = []
    for key in found:
        name = segment_of(key)
        try:
            number = number_of(name)
        except ValueError:
            continue  # not ours
        if not known(name):
            new.append((key.rpartition("/")[0], process_of(name), number, key))
    return [key for *_, key in sorted(new)]


def read_indexes(store: Store, keys: deque[str]) -> dict[str, list[Entry]]:
    """Take keys from the front and read their entries, up to about ten thousand at a time."""
    read: dict[str, list[Entry]] = {}
    while keys and sum(map(len, read.values())) < _ENTRIES_AT_ONCE:
        key = keys.popleft()
        try:
            read[key] = entries(store.get(key))
        except NotFound:
            continue  # removed by a lifecycle rule since it was listed
        except Damaged as exc:
            # `receiver verify` reports what is lost.  Once repaired, it is read again.
            _log.error("index object is damaged", extra={"key": key, "error": str(exc)})
    return read


def segment_of(key: str) -> str:
    """Return the segment of an index object."""
    return key.rpartition("/")[2].removesuffix(INDEX_SUFFIX)


def day_of(key: str) -> date:
    """Return the day of an index object, or of a folder of them."""
    return date.fromisoformat(key.partition("date=")[2].partition("/")[0])
