"""The spool: the durable log between the door and the archive.

    <spool>/
      <process id>/             one directory for each server process that ever wrote
        lock                    held by that process as long as it lives
        <process id>-0.seg      see `segment` for names, suffixes and format
        <process id>-1.open

A directory has one writer for life: its lock is taken before the directory gets its name, and a
process that starts makes a directory of its own.  So whoever finds a lock free knows that the
writer is dead and that nothing there will change; what it left is ready to ship as it stands.

`directory` is what all processes know of a spool: where its files are, which are ready, how much
room is left.  `Writer` fills one directory, blocking; `Spool` lets many requests share its syncs.
"""

from receiver.spool.directory import Found, Room, bury, directories, files, room
from receiver.spool.group_commit import ArchiveAck, Spool
from receiver.spool.writer import Writer

__all__ = ["ArchiveAck", "Found", "Room", "Spool", "Writer", "bury", "directories", "files", "room"]
