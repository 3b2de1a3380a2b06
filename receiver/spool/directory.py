"""The directories and files of a spool: making and locking, listing, removing what is empty."""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from receiver import clock, disk
from receiver.spool import segment

PROBE = "probe"
_LOCK = "lock"
_UNBORN = ".new-"
# A file system makes it in its own root.
_FOREIGN = "lost+found"
# A process names its directory within milliseconds; after this time it is dead.
_UNBORN_US = 60_000_000


@dataclass(frozen=True, slots=True)
class Found:
    """A segment file; it is ready to ship when no writer will change it any more."""

    path: Path
    bytes: int
    ready: bool

    @property
    def name(self) -> str:
        """The segment's name, without the suffix."""
        return self.path.stem


def claim(root: Path) -> tuple[Path, int]:
    """Make a directory for this process; return it and the descriptor that holds its lock.

    The directory is durable on return.  It is made under a hidden name and gets its own only
    once the lock is held, so no shipper can take its writer for dead.  Raises `OSError`.
    """
    if root.is_dir():
        # The process that made it may have died before the name was durable.
        with contextlib.suppress(PermissionError):  # an administrator made it, long ago
            disk.sync_directory(root.parent)
    else:
        disk.make_directory(root, mode=disk.PRIVATE_DIRECTORY)
    # Markers are derived from it, so it must be unpredictable to senders, who see delivery ids.
    process = clock.new_id(noise=secrets.randbits)
    unborn = root / f"{_UNBORN}{process}"
    unborn.mkdir(disk.PRIVATE_DIRECTORY)
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    lock = os.open(unborn / _LOCK, flags, disk.PRIVATE_FILE)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        directory = root / process
        unborn.rename(directory)
        disk.sync_directory(root)
    except OSError:
        os.close(lock)  # `bury` removes a directory without a lock and a record
        raise
    return directory, lock


def directories(root: Path) -> list[Path]:
    """Return the process directories of a spool, oldest first.

    ``root`` itself is one, too, if it holds segments: a user may name a process directory, and
    stray files in the root of a spool hide none of its directories.
    """
    try:
        found = list(os.scandir(root))
    except FileNotFoundError:
        return []
    ours = (e for e in found if not e.name.startswith(".") and e.name != _FOREIGN)
    below = sorted(Path(entry.path) for entry in ours if entry.is_dir(follow_symlinks=False))
    if any(entry.name.endswith(segment.SUFFIXES) for entry in found):
        return [root, *below]
    return below


def writer_lives(directory: Path) -> bool:
    """Return whether the process that writes to a directory is alive."""
    lock = _try_lock(directory, fcntl.LOCK_SH)
    if lock is None:
        return True
    os.close(lock)
    return False


def _try_lock(directory: Path, mode: int) -> int | None:
    """Lock a directory whose writer is dead; return the descriptor, or None if it is alive."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        lock = os.open(_LOCK, os.O_RDWR | os.O_CLOEXEC, dir_fd=fd)
    except FileNotFoundError:
        # A copy of segments without the lock file has no writer.
        return fd
    os.close(fd)
    try:
        fcntl.flock(lock, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _ignore(path: Path) -> None:
    pass


def files(root: Path, *, passed_over: Callable[[Path], None] = _ignore) -> Iterator[Found]:
    """Yield the segment files of a spool in the order in which they were begun.

    Directories and files that are removed meanwhile are left out.  So is a symbolic link that is
    named like a segment: no writer made it.  ``passed_over`` is called with its path.
    """
    for directory in directories(root):
        try:
            # Before the listing: the open segment of a writer that dies in between counts as
            # ready only the next time.
            alive = writer_lives(directory)
            found = [_found(entry, passed_over, alive=alive) for entry in os.scandir(directory)]
        except FileNotFoundError:
            continue  # emptied and removed by another shipper
        # Of names that differ in their numbers, the longer has the larger one.
        yield from sorted(filter(None, found), key=lambda file: (len(file.name), file.name))


def _found(
    entry: os.DirEntry[str], passed_over: Callable[[Path], None], *, alive: bool
) -> Found | None:
    path = Path(entry.path)
    if path.suffix not in segment.SUFFIXES:
        return None
    if entry.is_symlink():
        passed_over(path)
        return None
    try:
        size = entry.stat().st_size
    except FileNotFoundError:
        return None
    return Found(path, size, ready=path.suffix != segment.OPEN or not alive)


def bury(root: Path) -> None:
    """Remove the directories of dead processes that hold no record."""
    for directory in directories(root):
        if directory != root:
            _bury(directory)
    for unborn in root.glob(f"{_UNBORN}*"):
        process = unborn.name.removeprefix(_UNBORN)
        if clock.is_id(process) and clock.now_us() - clock.id_time_us(process) > _UNBORN_US:
            _bury(unborn)


def _bury(directory: Path) -> None:
    try:
        lock = _try_lock(directory, fcntl.LOCK_EX)
        if lock is None:
            return
        try:
            for path in directory.iterdir():
                begun = path.suffix == segment.OPEN and path.stat().st_size == 0
                if begun or path.name.lstrip(".").startswith(PROBE):
                    path.unlink()
            if all(path.name == _LOCK for path in directory.iterdir()):
                (directory / _LOCK).unlink(missing_ok=True)
                directory.rmdir()
        finally:
            os.close(lock)
    except FileNotFoundError:
        return  # another shipper was faster
