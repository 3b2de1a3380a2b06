"""What makes bytes and names durable: the only place that calls fsync or fdatasync.

A name is durable once its directory was synced after the name was made; data is durable once its
file was synced after the write (ALICE, OSDI 2014; PostgreSQL's fsync errata of 2018).
"""

import fcntl
import os
import sys
import threading
from pathlib import Path

if sys.platform == "darwin":

    def sync_data(fd: int) -> None:
        """Put a file's data, and the metadata needed to read it back, on stable storage.

        macOS has no fdatasync, and its fsync leaves data in the drive's cache (fsync(2)), so the
        drive is flushed too.  Raises `OSError`; after that the file must not be synced again.
        """
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)

else:

    def sync_data(fd: int) -> None:
        """Put a file's data, and the metadata needed to read it back, on stable storage.

        Raises `OSError`; after that the file must not be synced again: the kernel may have dropped
        the pages that it could not write, and reports success the next time.
        """
        os.fdatasync(fd)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable: files made, renamed or removed before this call."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


_making = threading.Lock()


def make_directory(path: Path) -> None:
    """Make a directory and its missing parents; each is durable on return."""
    # One at a time: who finds a directory that another thread has just made must not go on before
    # its name is durable.
    with _making:
        missing = []
        while not path.is_dir():
            missing.append(path)
            path = path.parent
        for directory in reversed(missing):
            directory.mkdir(exist_ok=True)
            sync_directory(directory.parent)


def write_durably(path: Path, content: bytes) -> None:
    """Replace a file's content in one step; durable on return.

    Temp file, sync, rename, sync of the directory, in that order: a reader sees the old content
    or the new one, whenever the power fails.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        try:
            write_all(fd, [content])
            sync_data(fd)
        finally:
            os.close(fd)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


# Linux takes at most this many buffers in one writev (IOV_MAX).
_BUFFERS_MAX = 1024


def write_all(fd: int, buffers: list[bytes]) -> None:
    """Write buffers one after the other, however many calls it takes."""
    for start in range(0, len(buffers), _BUFFERS_MAX):
        some = buffers[start : start + _BUFFERS_MAX]
        written = os.writev(fd, some)
        missing = sum(map(len, some)) - written
        if missing:
            rest = memoryview(b"".join(some))[written:]
            while rest:
                rest = rest[os.write(fd, rest) :]
