"""The archive: the objects in the store, written once for each segment of the spool.

    callbacks/date=2026-11-21/hour=19/provider=dataforseo/kind=postback/<segment>.jsonl.gz
    index/date=2026-11-21/hour=19/<segment>.jsonl.gz
    quarantine/<segment>/<offset>-<end>.bin

Partitions are by arrival, in UTC.  A segment becomes one callbacks object for each partition that
it touches, one index object in the partition of its first record, and an object for each damaged
part.  The index is written last and commits the segment: if it is there, the segment is archived
completely.  Keys are a function of the segment, so shipping it again writes the same keys.

Objects are JSON Lines in independent gzip members, or zstd frames in `.jsonl.zst`, of about
256 KiB: any tool reads the whole object, and one ranged GET reads the line of an index entry.

The format is a contract with query engines and with archives that exist.  Its parts, each of which
is known to one module only:

    schema     the columns of a line and of an index entry
    keys       the keys, built and parsed
    members    gzip and zstd, whole and in steps
    body       a body as it came over the wire, and what it holds

`writing` turns the records of a segment into objects; `reading` gives entries and lines back, with
`long_lines` for what is too long to be held; `verify` proves with `checking` that both agree.
Keys of sweeps, leases and forwards belong to the modules that write them.
"""

from receiver.archive.keys import callbacks_key, index_key, quarantine_key
from receiver.archive.members import COMPRESSIONS, Compression
from receiver.archive.writing import SegmentObjects

__all__ = [
    "COMPRESSIONS",
    "Compression",
    "SegmentObjects",
    "callbacks_key",
    "index_key",
    "quarantine_key",
]
