"""Makes bytes and names durable: the only place that calls fsync or fdatasync.

Data is durable once its file has been synced after the write, and a name once its directory has
been synced after the name was made (ALICE, OSDI 2014; PostgreSQL's fsync errata of 2018).
"""

import contextlib
import fcntl
import os
import sys
import threading
from pathlib import Path

if sys.platform == "darwin":

    def sync_data(fd: int) -> None:
        """Put a file's data, and the metadata needed to read it back, on stable storage.

        macOS has no fdatasync, and its fsync leaves data in the drive's cache (fsync(2)), so this
        flushes the drive.  Raises `OSError`; after that the file must not be synced again.
        """
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)

else:

    def sync_data(fd: int) -> None:
        """Put a file's data, and the metadata needed to read it back, on stable storage.

        Raises `OSError`; after that the file must not be synced again: the kernel may have dropped
        the pages that it could not write, and would report success the next time.
        """
        os.fdatasync(fd)


def sync_directory(path: Path) -> None:
    """Make changes of names in a directory durable: files made, renamed or removed before."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


# Working files hold secrets and are the owner's alone.  What others may read, such as an archive,
# follows the umask.
PRIVATE_FILE, PRIVATE_DIRECTORY = 0o600, 0o700
SHARED_FILE, SHARED_DIRECTORY = 0o666, 0o777

_making = threading.Lock()


def make_directory(path: Path, *, mode: int = SHARED_DIRECTORY) -> None:
    """Make a directory and its missing parents; each is durable on return.

    ``mode`` is that of the directory, less the umask.  Parents that are made are shared, since more
    than this directory may lie in them; directories that exist stay as they are.
    """
    # One thread at a time: a thread that finds a directory made by another must not go on before
    # its name is durable.
    with _making:
        missing = []
        while not path.is_dir():
            missing.append(path)
            path = path.parent
        for directory in reversed(missing):
            directory.mkdir(mode if directory == missing[0] else SHARED_DIRECTORY, exist_ok=True)
            sync_directory(directory.parent)


def make_private(path: Path) -> None:
    """Make an empty file that is the owner's alone; a file that exists becomes so.

    Another user's file stays as it is.  A file is not opened if it exists, because closing it would
    drop the locks that this process has on it (fcntl(2)).  Raises `OSError`.
    """
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE))
    except FileExistsError:
        if path.stat().st_mode & 0o077:
            with contextlib.suppress(OSError):
                path.chmod(PRIVATE_FILE)


def write_durably(path: Path, content: bytes, *, mode: int = PRIVATE_FILE) -> None:
    """Replace a file's content atomically; durable on return.

    ``mode`` is that of the file, less the umask.

    A temporary file is written, synced and renamed, and then the directory is synced: after a
    power cut at any moment a reader sees the old content or the new one.  Raises `OSError`.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
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
    """Write buffers one after the other, with as many calls as that takes.  Raises `OSError`."""
    for start in range(0, len(buffers), _BUFFERS_MAX):
        some = buffers[start : start + _BUFFERS_MAX]
        written = os.writev(fd, some)
        missing = sum(map(len, some)) - written
        if missing:
            rest = memoryview(b"".join(some))[written:]
            while rest:
                rest = rest[os.write(fd, rest) :]
