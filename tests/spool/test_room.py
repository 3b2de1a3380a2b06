"""The room left in a spool: everything counts, and measuring never holds anything up."""

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from receiver import clock
from receiver.spool import Room, Writer, measure_room, segment
from receiver.spool import room as module
from receiver.spool.room import Gauge
from tests.spool.helpers import DEADLINE_SECONDS, refuse
from tests.tools.deliveries import segment_file

RECORD = [(b"head", b"body")]
FAR = 1 << 40


def test_everything_in_the_spool_counts_whoever_wrote_it(tmp_path: Path) -> None:
    segment_file(tmp_path, [(b"", bytes(1000))])
    segment_file(tmp_path, [(b"", bytes(500))], suffix=segment.OPEN)
    writer = Writer(tmp_path)
    writer.write([segment.frame(writer.marker, b"", []), bytes(250)], records=1)
    room = measure_room(tmp_path, bytes_max=5000, reserve_bytes=0)
    used = 1750 + 3 * segment.HEADER_BYTES
    assert (used, 5000 - used, "RECEIVER_SPOOL_BYTES_MAX") == (
        room.used,
        room.left,
        room.bounded_by,
    )


def test_the_reserve_of_the_disk_bounds_the_room(tmp_path: Path) -> None:
    volume = os.statvfs(tmp_path)
    free = volume.f_bavail * volume.f_frsize
    room = measure_room(tmp_path, bytes_max=FAR * 1000, reserve_bytes=free + FAR)
    assert "RECEIVER_DISK_RESERVE_BYTES" == room.bounded_by
    assert room.left < 0
    assert room.left == room.disk_left


def test_what_the_disk_allows_is_measured_also_where_the_limit_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = os.statvfs(tmp_path)
    # Others write to the same disk meanwhile.
    monkeypatch.setattr(os, "statvfs", lambda path: volume)
    free = volume.f_bavail * volume.f_frsize
    room = measure_room(tmp_path, bytes_max=1000, reserve_bytes=1 << 20)
    assert (1000, free - (1 << 20)) == (room.left, room.disk_left)


def test_a_file_that_is_shipped_while_room_is_measured_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = clock.new_id()
    paths = [
        segment_file(tmp_path, [(b"", bytes(1000))], process=process, number=number)
        for number in range(5)
    ]
    real = os.scandir

    def scandir(path: Path) -> Iterator["os.DirEntry[str]"]:
        for entry in sorted(real(path), key=lambda entry: entry.name):
            if entry.name == paths[2].name:
                paths[2].unlink()
            yield entry

    monkeypatch.setattr(os, "scandir", scandir)
    room = measure_room(tmp_path, bytes_max=FAR, reserve_bytes=0)
    assert 4 * (1000 + segment.HEADER_BYTES) == room.used


@pytest.mark.parametrize("name", ["lock", "stray.seg", "x-0.open"])
def test_a_stray_file_in_the_root_hides_nothing(tmp_path: Path, name: str) -> None:
    path = segment_file(tmp_path, RECORD)
    (tmp_path / name).write_bytes(b"")
    room = measure_room(tmp_path, bytes_max=1 << 30, reserve_bytes=0)
    assert room.used >= path.stat().st_size


# The gauge.


class Measured:
    """Stands for the event loop: notes what is posted."""

    def __init__(self) -> None:
        self.rooms: list[tuple[Room, int]] = []
        self.threads: set[str] = set()
        self._arrived = threading.Semaphore(0)

    def post(self, call: Callable[[Room, int], None], room: Room, settled_bytes: int) -> None:
        call(room, settled_bytes)
        self.threads.add(threading.current_thread().name)
        self._arrived.release()

    def measured(self, room: Room, settled_bytes: int) -> None:
        self.rooms.append((room, settled_bytes))

    def wait(self) -> tuple[Room, int]:
        assert self._arrived.acquire(timeout=DEADLINE_SECONDS)
        return self.rooms[-1]


def gauge(root: Path, measured: Measured, settled_bytes: Callable[[], int] = lambda: 0) -> Gauge:
    return Gauge(
        root,
        bytes_max=10_000,
        reserve_bytes=0,
        post=measured.post,
        settled_bytes=settled_bytes,
        measured=measured.measured,
    )


def test_the_room_is_measured_again_and_again_until_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MEASURE_SECONDS", 0.001)
    measured = Measured()
    measuring = gauge(tmp_path, measured)
    measuring.start()
    assert 10_000 == measured.wait()[0].left
    path = segment_file(tmp_path, RECORD)
    size = path.stat().st_size
    while measured.wait()[0].left != 10_000 - size:
        assert len(measured.rooms) < 10_000
    measuring.end()
    measuring.join(DEADLINE_SECONDS)
    assert not measuring.is_alive()
    assert {"measure"} == measured.threads


def test_what_was_settled_is_asked_before_the_files_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MEASURE_SECONDS", 0.001)
    settled = 1
    real = module.measure_room

    def measure(root: Path, *, bytes_max: int, reserve_bytes: int) -> Room:
        nonlocal settled
        settled += 1  # meanwhile
        return real(root, bytes_max=bytes_max, reserve_bytes=reserve_bytes)

    monkeypatch.setattr(module, "measure_room", measure)
    measured = Measured()
    measuring = gauge(tmp_path, measured, lambda: settled)
    measuring.start()
    measured.wait()
    measuring.end()
    measuring.join(DEADLINE_SECONDS)
    assert 1 == measured.rooms[0][1]


def test_a_long_measurement_is_followed_by_a_longer_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    pauses: list[float] = []

    class Ending(threading.Event):
        """Waits for nothing, and ends after three times."""

        def wait(self, timeout: float | None = None) -> bool:
            assert timeout is not None
            pauses.append(timeout)
            return len(pauses) > 2

    def measure(root: Path, *, bytes_max: int, reserve_bytes: int) -> Room:
        nonlocal now
        now += 0.01 if len(pauses) == 1 else 7.0
        return Room(0, 0, "", 0)

    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(module, "measure_room", measure)
    measuring = gauge(tmp_path, Measured())
    measuring._ending = Ending()
    measuring.run()
    assert [1.0, 1.0, 70.0] == pytest.approx(pauses)


def test_there_is_no_room_while_it_cannot_be_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measuring = gauge(tmp_path, Measured())
    with monkeypatch.context() as patch:
        patch.setattr(os, "statvfs", refuse(errno.EIO))
        room = measuring.measure()
    assert (0, "it cannot be measured: Input/output error") == (room.left, room.bounded_by)
    assert 10_000 == measuring.measure().left


def test_a_loop_that_has_ended_is_told_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MEASURE_SECONDS", 0.001)
    posts = threading.Semaphore(0)

    def closed(*given: object) -> None:
        posts.release()
        raise RuntimeError("Event loop is closed")

    measured = Measured()
    monkeypatch.setattr(measured, "post", closed)
    measuring = gauge(tmp_path, measured)
    measuring.start()
    for _ in range(2):
        assert posts.acquire(timeout=DEADLINE_SECONDS)
    measuring.end()
    measuring.join(DEADLINE_SECONDS)
    assert not measuring.is_alive()
