"""New segments in the archive: index objects that are not known yet, oldest first."""

import logging
from collections import deque
from collections.abc import Callable, Iterable

from receiver.archive import keys
from receiver.archive.index import entries
from receiver.archive.schema import Entry
from receiver.errors import Damaged, NotFound
from receiver.spool.segment import number_of, process_of
from receiver.store import Store

_log = logging.getLogger(__name__)

# Entries held at a time, besides those of one more segment.
_ENTRIES_AT_ONCE = 10_000
_HOUR_US = 3_600_000_000


def hours_around(now_us: int) -> list[str]:
    """Return the prefixes under which new segments appear: those of the hours around now."""
    return [keys.hour_prefix(keys.INDEX, now_us + hours * _HOUR_US) for hours in (-1, 0, 1)]


def new_keys(store: Store, prefixes: Iterable[str], *, known: Callable[[str], bool]) -> list[str]:
    """Return the keys of index objects of segments that are not known, by hour and number."""
    found = {listed.key for prefix in prefixes for listed in store.list(prefix)}
    # Of a segment that is filed under two hours, one is enough.
    new = {}
    for key in sorted(filter(keys.is_index, found), reverse=True):
        name = keys.segment_of(key)
        if not known(name):
            new[name] = (keys.partition_of(key), process_of(name), number_of(name), key)
    return [key for *_, key in sorted(new.values())]


def read_indexes(store: Store, waiting: deque[str]) -> dict[str, list[Entry]]:
    """Take keys from the front and read their entries, up to about ten thousand at a time."""
    read: dict[str, list[Entry]] = {}
    while waiting and sum(map(len, read.values())) < _ENTRIES_AT_ONCE:
        key = waiting.popleft()
        try:
            read[key] = entries(key, store.get(key))
        except NotFound:
            continue  # removed by a lifecycle rule since it was listed
        except Damaged as exc:
            # `receiver verify` reports what is lost.  Once repaired, it is read again.
            _log.error("index object is damaged", extra={"key": key, "error": str(exc)})
    return read
