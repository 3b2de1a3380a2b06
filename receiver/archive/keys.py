"""The keys of the archive, built and parsed; the package's docstring draws the tree.

Partitions are by arrival, in UTC: ``date=2026-11-21/hour=19``.
"""

import functools
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime

from receiver import clock
from receiver.archive import members
from receiver.spool.segment import parse, process_of

# The parts of the archive whose keys begin with a day, as prefixes.
CALLBACKS, INDEX = "callbacks/", "index/"

_HOUR_US = 3_600_000_000
_DAY = re.compile(r"(?:\A|/)date=(\d{4}-\d\d-\d\d)/", re.ASCII)
_INDEX = re.compile(r"index/date=([0-9-]{10})/hour=([01][0-9]|2[0-3])/([^/]+)")


def callbacks_key(
    segment: str, *, received_at_us: int, provider: str, kind: str, suffix: str
) -> str:
    """Return the key of a segment's lines of one partition."""
    partition = hour_prefix(CALLBACKS, received_at_us)
    return f"{partition}provider={provider}/kind={kind}/{segment}{suffix}"


def callbacks_keys(segment: str, hour: str, provider: str, kind: str) -> tuple[str, ...]:
    """Return the keys that a segment's lines of an hour can have, one for each compression.

    ``hour`` is the beginning of a time as RFC 3339 writes it: ``2026-11-21T19``.
    """
    date, _, number = hour.partition("T")
    partition = f"{CALLBACKS}date={date}/hour={number}/provider={provider}/kind={kind}"
    suffixes = (compression.suffix for compression in members.COMPRESSIONS.values())
    return tuple(f"{partition}/{segment}{suffix}" for suffix in suffixes)


def index_key(segment: str, *, first_at_us: int | None) -> str:
    """Return the key of a segment's index, in the partition of its first record.

    The index of a segment without records goes into that of the moment its process began, so that
    no number is missing.
    """
    if first_at_us is None:
        first_at_us = clock.id_time_us(process_of(segment))
    return f"{hour_prefix(INDEX, first_at_us)}{segment}{members.INDEX.suffix}"


def quarantine_key(segment: str, *, offset: int, end: int) -> str:
    """Return the key of a segment's damaged bytes from ``offset`` to ``end``."""
    return f"quarantine/{segment}/{offset}-{end}.bin"


def hour_prefix(top: str, at_us: int) -> str:
    """Return the prefix of the keys below ``top`` that are of the hour of a moment."""
    return f"{top}{_partition(at_us // _HOUR_US)}/"


def day_prefix(top: str, day: date) -> str:
    """Return the prefix of the keys below ``top`` that are of one day."""
    return f"{top}{_folder(day)}/"


def day_folder(at_us: int) -> str:
    """Return what a folder of the day of a moment is called, here and in other trees."""
    return _folder(day_at(at_us))


def day_at(at_us: int) -> date:
    """Return the day of a moment."""
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).date()


def day_of(key: str) -> date:
    """Return the day of a key or of a prefix.  Raises `ValueError` if it has none since 1970."""
    found = _DAY.search(key)
    if found is None or found[1] < "1970":
        raise ValueError(f"{key} is not of a day")
    return date.fromisoformat(found[1])


def hour_of(key: str) -> str:
    """Return the hour of an index object's key as RFC 3339 writes it: ``2026-11-21T19``.

    Raises `ValueError` if `is_index` is false for it.
    """
    found = _INDEX.fullmatch(key)
    if found is None:
        raise ValueError(f"{key} is not the key of an index object")
    return f"{found[1]}T{found[2]}"


def partition_of(key: str) -> str:
    """Return what the keys of one partition begin with."""
    return key.rpartition("/")[0]


def days(folders: Iterable[str]) -> list[date]:
    """Return the days of a store's folders, sorted; other folders are not the archive's."""
    found = set()
    for folder in folders:
        try:
            found.add(day_of(folder))
        except ValueError:
            continue
    return sorted(found)


def end_of(prefix: str) -> str:
    """Return a text that sorts after all keys below a prefix and before all others after them."""
    # In ASCII "0" follows "/".
    return f"{prefix[:-1]}0"


def segment_of(key: str) -> str:
    """Return the name of the segment that an object of callbacks or of the index belongs to."""
    return key.rpartition("/")[2].partition(".")[0]


def suffix_of(key: str) -> str:
    """Return what follows the segment's name in such a key."""
    return key.rpartition("/")[2].removeprefix(segment_of(key))


def is_index(key: str) -> bool:
    """Return whether a key below `INDEX` is that of a segment's index."""
    found = _INDEX.fullmatch(key)
    if found is None:
        return False
    name = found[3].removesuffix(members.INDEX.suffix)
    parts = parse(name)
    if parts is None or name == found[3]:
        return False
    try:
        # An id can hold moments beyond the last year that a partition's name can.
        day_at(clock.id_time_us(parts.process))
        day_of(key)
    except (ValueError, OverflowError):
        return False
    return True


def _folder(day: date) -> str:
    return f"date={day.isoformat()}"


# Thousands of callbacks share an hour.
@functools.lru_cache(maxsize=64)
def _partition(hours: int) -> str:
    moment = datetime.fromtimestamp(hours * 3600, UTC)
    return f"{_folder(moment.date())}/hour={moment:%H}"
