"""The keys of the archive; the tree is drawn in the package's docstring."""

from receiver import clock
from receiver.spool.segment import process_of

INDEX_SUFFIX = ".jsonl.gz"


def callbacks_key(
    segment: str, *, received_at_us: int, provider: str, kind: str, suffix: str
) -> str:
    """Return where a segment's lines of one partition go."""
    date, hour = clock.partition(received_at_us)
    return f"callbacks/date={date}/hour={hour}/provider={provider}/kind={kind}/{segment}{suffix}"


def index_key(segment: str, *, first_at_us: int | None) -> str:
    """Return where a segment's index goes.

    A segment without a record is filed under the time its process began, so that its number is
    not missing.
    """
    if first_at_us is None:
        first_at_us = clock.id_time_us(process_of(segment))
    date, hour = clock.partition(first_at_us)
    return f"index/date={date}/hour={hour}/{segment}{INDEX_SUFFIX}"


def quarantine_key(segment: str, *, offset: int, end: int) -> str:
    """Return where the damaged bytes of a segment from ``offset`` to ``end`` go."""
    return f"quarantine/{segment}/{offset}-{end}.bin"
