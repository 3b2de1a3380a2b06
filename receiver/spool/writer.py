"""The writer of one spool directory.  Blocks; one call at a time.

When `write` returns, the bytes and the name of their file are on stable storage.  A new file's
name is synced before its first record.  A seal only renames, so a crash in the middle of one
leaves the same bytes under either name.
"""

import contextlib
import errno
import logging
import os
import time
from pathlib import Path

from receiver import disk
from receiver.spool import directory, segment

_log = logging.getLogger(__name__)


class Writer:
    """Fills the segments of one process directory, which it makes and locks.

    Raises `OSError` if that fails.  A file that could not be opened is opened at the next write,
    so a full disk needs no restart once it has room again.
    """

    def __init__(self, root: Path) -> None:
        self.directory, self._lock = directory.claim(root)
        self.process = self.directory.name
        self.marker = segment.marker_of(self.process)
        self.records = 0
        self.bytes = 0
        self._begun_at = 0.0
        self._number = 0
        self._fd: int | None = None
        try:
            self._begin()
        except OSError:
            os.close(self._lock)  # `bury` removes a directory without a lock and a record
            raise

    @property
    def segment(self) -> str:
        """The name of the open segment."""
        return segment.name_of(self.process, self._number)

    @property
    def age_seconds(self) -> float:
        """The time since the open segment got its first record; 0 while it has none."""
        return time.monotonic() - self._begun_at if self.records else 0.0

    @property
    def lost(self) -> bool:
        """Whether the lock or the open segment was removed while this writer held it.

        A shipper takes a writer without a lock file for dead: it ships the segments and removes
        them.
        """
        if os.fstat(self._lock).st_nlink == 0:
            return True
        return self._fd is not None and os.fstat(self._fd).st_nlink == 0

    def write(self, buffers: list[bytes], *, records: int) -> None:
        """Append complete records; durable on return.

        Raises `OSError` if they are not durable.  Earlier records stay durable: after a failed
        write the file is truncated to them, and after a failed sync it is set aside, because the
        kernel may have dropped pages and would report success the next time.  Once the writer is
        `lost`, every write fails: give it up.
        """
        if self._fd is None:
            self._begin()
        assert self._fd is not None
        try:
            disk.write_all(self._fd, buffers)
        except OSError:
            self._cut_back(self._fd)
            raise
        try:
            disk.sync_data(self._fd)
        except OSError:
            self._set_aside(self._fd)
            raise
        # After the sync: a shipper that finds the lock missing reads every record that was durable
        # before the lock was removed.
        if self.lost:
            raise OSError(errno.ESTALE, "the lock or the open segment was removed")
        if not self.records:
            self._begun_at = time.monotonic()
        self.records += records
        self.bytes += sum(map(len, buffers))

    def seal(self) -> None:
        """Finish the open segment, so that it can be shipped, and begin the next.

        Does nothing if it holds no record.  Raises `OSError` if it could not be renamed, and is
        still open, or if the next could not be begun; either way the writer can be used on.
        """
        if self._fd is None or not self.records:
            return
        self._path(segment.OPEN).rename(self._path(segment.SEALED))
        fd = self._fd
        # Drop it before closing: the descriptor number may be reused by a client connection.
        self._next()
        os.close(fd)
        self._begin()

    def probe(self) -> None:
        """Raise `OSError` unless the directory takes a small file and syncs it."""
        path = self.directory / directory.PROBE
        disk.write_durably(path, bytes(4096))
        path.unlink()

    def close(self) -> None:
        """Seal, and release the lock, whatever fails.  Raises `OSError`.

        The records are durable and ready to ship in any case.
        """
        fd, self._fd = self._fd, None
        try:
            if fd is not None:
                if self.records:
                    self._path(segment.OPEN).rename(self._path(segment.SEALED))
                else:
                    self._path(segment.OPEN).unlink(missing_ok=True)
                disk.sync_directory(self.directory)
        finally:
            if fd is not None:
                os.close(fd)
            os.close(self._lock)

    def give_up(self) -> None:
        """Close a writer that is `lost`, so that the rest of its directory is shipped."""
        _log.error("directory given up", extra={"directory": self.process})
        with contextlib.suppress(OSError):
            self.close()

    def _begin(self) -> None:
        # An attempt that could not sync the name has left an empty file.
        path = self._path(segment.OPEN)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, disk.PRIVATE_FILE)
        try:
            disk.sync_directory(self.directory)
        except OSError:
            os.close(fd)
            raise
        self._fd = fd

    def _next(self) -> None:
        self._fd = None
        self._number += 1
        self.records = self.bytes = 0

    def _cut_back(self, fd: int) -> None:
        try:
            os.ftruncate(fd, self.bytes)
        except OSError:
            self._set_aside(fd)

    def _set_aside(self, fd: int) -> None:
        name = self.segment
        try:
            self._path(segment.OPEN).rename(self._path(segment.TORN))
            os.close(fd)
        except OSError as exc:
            # The file keeps the suffix of an open segment, and is shipped once this process has
            # ended.
            _log.error("segment not set aside", extra={"segment": name, "error": str(exc)})
        else:
            _log.error("segment set aside", extra={"segment": name})
        self._next()

    def _path(self, suffix: str) -> Path:
        return self.directory / f"{self.segment}{suffix}"
