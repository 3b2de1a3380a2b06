"""What every process knows of a spool: its files, which of them are ready, and the room left."""

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from receiver import clock, disk
from receiver.spool import segment

PROBE = "probe"
_LOCK = "lock"
_UNBORN = ".new-"
# What a file system puts into its own root, for nobody to read.
_FOREIGN = "lost+found"
_PROCESS = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


@dataclass(frozen=True, slots=True)
class Found:
    """A segment file; ``ready`` says that no writer will change it."""

    path: Path
    bytes: int
    ready: bool

    @property
    def name(self) -> str:
        """The segment's name, without its state."""
        return self.path.stem


@dataclass(frozen=True, slots=True)
class Room:
    """How much more a spool may hold: ``left`` bytes, by the limit or by the disk.

    ``disk_left`` is what the disk alone would allow, its reserve taken off.
    """

    used: int
    left: int
    bounded_by: str
    disk_left: int


def claim(root: Path) -> tuple[Path, int]:
    """Make a directory for this process; return it and the descriptor that holds its lock.

    The directory is durable on return.  It is born under a name that nobody looks at and gets
    its own only when the lock is held, so no shipper can take it for a dead one.
    """
    if root.is_dir():
        # Whoever made it may have died before its name was durable.
        with contextlib.suppress(PermissionError):  # made by an administrator, long ago
            disk.sync_directory(root.parent)
    else:
        disk.make_directory(root)
    # Markers are made of it, so it must not follow from the delivery ids that senders are told.
    process = clock.new_id(noise=secrets.randbits)
    unborn = root / f"{_UNBORN}{process}"
    unborn.mkdir()
    lock = os.open(unborn / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        directory = root / process
        unborn.rename(directory)
        disk.sync_directory(root)
    except OSError:
        os.close(lock)  # a directory without a lock and a record is buried
        raise
    return directory, lock


def directories(root: Path) -> list[Path]:
    """Return the process directories of a spool, oldest first; ``root`` may also be one itself.

    A segment or a lock in the root, whoever put it there, hides no directory.
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
    """Say whether the process that writes to a directory is still there."""
    lock = _try_lock(directory, fcntl.LOCK_SH)
    if lock is None:
        return True
    os.close(lock)
    return False


def _try_lock(directory: Path, mode: int) -> int | None:
    """Lock a directory whose writer is dead and return the descriptor; None if it lives."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        lock = os.open(_LOCK, os.O_RDWR | os.O_CLOEXEC, dir_fd=fd)
    except FileNotFoundError:
        # A copy of somebody's segments, without the lock file: nobody writes here.
        return fd
    os.close(fd)
    try:
        fcntl.flock(lock, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def files(root: Path) -> Iterator[Found]:
    """Yield the segment files of a spool in the order in which they were begun."""
    for directory in directories(root):
        try:
            # Asked before the listing: a writer that dies in between leaves files of which the
            # next look says that they are ready.
            alive = writer_lives(directory)
            found = [_found(entry, alive=alive) for entry in os.scandir(directory)]
        except FileNotFoundError:
            continue  # emptied and removed by another shipper
        yield from sorted(filter(None, found), key=_number)


def _found(entry: os.DirEntry[str], *, alive: bool) -> Found | None:
    path = Path(entry.path)
    if path.suffix not in segment.SUFFIXES:
        return None
    try:
        size = entry.stat().st_size
    except FileNotFoundError:
        return None
    return Found(path, size, ready=path.suffix != segment.OPEN or not alive)


def _number(found: Found) -> int:
    number = found.name.rpartition("-")[2]
    return int(number) if number.isdigit() else 0


def bury(root: Path) -> None:
    """Remove the directories of dead processes that hold nothing."""
    for directory in directories(root):
        if directory != root:
            _bury(directory)
    for unborn in root.glob(f"{_UNBORN}*"):
        if not _PROCESS.match(unborn.name.removeprefix(_UNBORN)):
            continue
        # Its maker needs milliseconds, so after a minute it is dead.
        if clock.now_us() - clock.id_time_us(unborn.name.removeprefix(_UNBORN)) > 60_000_000:
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


def room(root: Path, *, bytes_max: int, reserve_bytes: int) -> Room:
    """Measure a spool and its disk.

    Everything under the root counts, whoever wrote it: what a dead process left fills the disk
    as well as what a live one writes.
    """
    used = 0
    for directory in directories(root):
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
            for entry in os.scandir(directory):
                with contextlib.suppress(FileNotFoundError):  # shipped meanwhile
                    used += entry.stat().st_size
    volume = os.statvfs(root)
    free = volume.f_bavail * volume.f_frsize - reserve_bytes
    if free < bytes_max - used:
        return Room(used, free, "RECEIVER_DISK_RESERVE_BYTES", free)
    return Room(used, bytes_max - used, "RECEIVER_SPOOL_BYTES_MAX", free)
