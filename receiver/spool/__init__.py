"""The spool: the durable log between the door and the archive.

    <spool>/
      <process id>/             one directory for each server process that ever wrote
        lock                    held by that process while it lives
        <process id>-0.seg      see `segment` for names, suffixes and format
        <process id>-1.open

Promises.  A record is on stable storage, and so is the name of its file, before its append is
done.  Nothing is overwritten, truncated or dropped to make room, and a segment is removed by
nobody but the shipper, once the archive has confirmed it.  Damage is reported where it is found
and costs no other record.

A directory has one writer in its life: the lock is taken before the directory gets its name, and
each process that starts makes a directory of its own.  So a free lock means that the writer is
dead, that no file there will change, and that all of them are ready to ship as they are.

The files, by the thread that runs them:

    event loop            `append` (gathers records, settles requests) and the front for
                          RECEIVER_ACK=archive, `archive_ack`
    committing thread     `committer` (writes, syncs, seals, probes) and, below it, `writer`
    measuring thread      `room`
    any thread            `directory` and `segment`: listing and reading, without state

What may be touched: other packages use the names below and, to read, the functions of `segment`.
Any process may read any file at any time; only the process that holds its directory's lock
writes, and only a shipper removes.
"""

from receiver.spool.append import Spool
from receiver.spool.archive_ack import ArchiveAck, EarlyShipping
from receiver.spool.committer import Committer
from receiver.spool.directory import Found, bury, directories, files
from receiver.spool.room import Room, measure_room
from receiver.spool.writer import Writer

__all__ = [
    "ArchiveAck",
    "Committer",
    "EarlyShipping",
    "Found",
    "Room",
    "Spool",
    "Writer",
    "bury",
    "directories",
    "files",
    "measure_room",
]
