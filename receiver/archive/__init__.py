"""The archive: what lies in the store, and how it gets there.

    callbacks/date=2026-11-21/hour=19/provider=dataforseo/kind=postback/<segment>.jsonl.gz
    index/date=2026-11-21/hour=19/<segment>.jsonl.gz
    quarantine/<segment>/<offset>-<end>.bin

Partitions are by arrival, UTC.  A segment becomes one callbacks object for each partition that it
touches, and one index object, under the partition of its first record.  The index is written
last: a segment whose index is there is wholly there.  All keys are functions of the segment, so
writing a segment again writes the same keys.

Objects are JSON Lines in independent gzip members (or zstd frames) of about 256 KiB: any tool
reads the whole, and with its index entry one line is read by one ranged GET.
"""

from receiver.archive.keys import callbacks_key, index_key, quarantine_key
from receiver.archive.objects import COMPRESSIONS, Compression, SegmentObjects

__all__ = [
    "COMPRESSIONS",
    "Compression",
    "SegmentObjects",
    "callbacks_key",
    "index_key",
    "quarantine_key",
]
