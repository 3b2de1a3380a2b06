"""The room left in a spool: what its limit and its disk allow."""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from receiver.spool.directory import directories

_MEASURE_SECONDS = 1.0
# At most a tenth of the time is spent on measuring, however many files an outage has left.
_MEASURE_REST = 10


@dataclass(frozen=True, slots=True)
class Room:
    """How many more bytes a spool may hold.

    ``left`` is the smaller of what the limit and the disk allow, ``bounded_by`` the setting that
    makes it so.  ``disk_left`` is what the disk alone allows, less its reserve.  Both are below 0
    where the bound is exceeded.
    """

    used: int
    left: int
    bounded_by: str
    disk_left: int


def measure_room(root: Path, *, bytes_max: int, reserve_bytes: int) -> Room:
    """Measure a spool and its disk.  Raises `OSError` if either cannot be read.

    Everything under the root counts, whichever process wrote it: the files of a dead process
    fill the disk as much as those of a live one.
    """
    used = 0
    for directory in directories(root):
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
            for entry in os.scandir(directory):
                with contextlib.suppress(FileNotFoundError):  # shipped meanwhile
                    used += entry.stat(follow_symlinks=False).st_size
    volume = os.statvfs(root)
    free = volume.f_bavail * volume.f_frsize - reserve_bytes
    if free < bytes_max - used:
        return Room(used, free, "RECEIVER_DISK_RESERVE_BYTES", free)
    return Room(used, bytes_max - used, "RECEIVER_SPOOL_BYTES_MAX", free)


class Gauge(threading.Thread):
    """Measures the room for an event loop again and again, in a thread of its own.

    Counting the files of a long outage takes seconds, and neither a commit nor the event loop
    may wait for that.  ``post`` makes a call in the event loop's thread: of ``measured``, with
    the room and with what ``settled_bytes`` returned, in this thread, just before measuring.
    """

    def __init__(
        self,
        root: Path,
        *,
        bytes_max: int,
        reserve_bytes: int,
        post: Callable[..., object],
        settled_bytes: Callable[[], int],
        measured: Callable[[Room, int], None],
    ) -> None:
        super().__init__(name="measure", daemon=True)
        self._root = root
        self._bytes_max = bytes_max
        self._reserve_bytes = reserve_bytes
        self._settled_bytes = settled_bytes
        self._post = post
        self._measured = measured
        self._ending = threading.Event()

    def measure(self) -> Room:
        """Return the room now; there is none while it cannot be measured."""
        try:
            return measure_room(
                self._root, bytes_max=self._bytes_max, reserve_bytes=self._reserve_bytes
            )
        except OSError as exc:
            return Room(0, 0, f"it cannot be measured: {exc.strerror or exc}", 0)

    def end(self) -> None:
        """End the thread after at most one more measurement.  For any thread."""
        self._ending.set()

    def run(self) -> None:
        """Measure until `end`."""
        pause = _MEASURE_SECONDS
        while not self._ending.wait(pause):
            began = time.monotonic()
            settled_bytes = self._settled_bytes()
            room = self.measure()
            pause = max(_MEASURE_SECONDS, (time.monotonic() - began) * _MEASURE_REST)
            with contextlib.suppress(RuntimeError):  # the loop has ended, and so will the process
                self._post(self._measured, room, settled_bytes)
