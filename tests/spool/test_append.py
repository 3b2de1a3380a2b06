"""The spool as requests see it: shared syncs, and nothing acknowledged that is not durable."""

import asyncio
import errno
import os
import random
import threading
from pathlib import Path
from typing import Any

import pytest

from receiver import disk, metrics, spool
from receiver.errors import SpoolUnavailable
from receiver.spool import Spool, Writer, committer, room
from receiver.spool import append as module
from tests.spool.helpers import (
    DEADLINE_SECONDS,
    Syncs,
    append,
    bodies,
    fail_once,
    names,
    opened,
    refuse,
    until,
)

pytestmark = pytest.mark.anyio


# Durability, and sharing syncs.


async def test_what_is_acknowledged_can_be_read_from_the_disk(tmp_path: Path) -> None:
    async with opened(tmp_path) as into:
        held_by = await append(into, b"a body in chunks")
        assert [held_by] == [found.name for found in spool.files(tmp_path)]
        assert [b"a body in chunks"] == bodies(tmp_path)
        await append(into, b"")
        assert [b"a body in chunks", b""] == bodies(tmp_path)


async def test_a_turn_of_the_loop_shares_one_sync(tmp_path: Path, syncs: Syncs) -> None:
    async with opened(tmp_path) as into:
        await asyncio.gather(*(append(into, b"%d" % number) for number in range(200)))
        assert 1 == syncs.count
        assert [b"%d" % number for number in range(200)] == bodies(tmp_path)


async def test_while_one_group_is_synced_the_next_one_gathers(tmp_path: Path, syncs: Syncs) -> None:
    async with opened(tmp_path) as into:
        with syncs.held_up():
            first = append(into, b"first")
            await until(lambda: syncs.count == 1)
            others = [append(into, b"%d" % number) for number in range(500)]
            await asyncio.sleep(0)
            assert not first.done()
            assert 1 == syncs.count
        await asyncio.gather(first, *others)
        assert 2 == syncs.count
        assert 501 == len(bodies(tmp_path))


async def test_each_of_many_requests_is_answered_for_itself(tmp_path: Path, syncs: Syncs) -> None:
    choose = random.Random(1).random

    async def request(into: Spool, number: int) -> bytes:
        body = b"%d" % number * int(choose() * 40)
        await asyncio.sleep(choose() * 0.05)
        await append(into, body)
        return body

    async with opened(tmp_path, batch_bytes=4000) as into:
        async with asyncio.TaskGroup() as group:
            requests = [group.create_task(request(into, number)) for number in range(1000)]
        assert syncs.count < 1000
    assert sorted(task.result() for task in requests) == sorted(bodies(tmp_path))


async def test_the_last_request_before_a_silence_is_synced_at_once(
    tmp_path: Path, syncs: Syncs
) -> None:
    async with opened(tmp_path) as into:
        for number in range(1, 20):
            # Nothing else happens: no timer and no second request hands it over.
            await asyncio.wait_for(append(into, b"alone"), DEADLINE_SECONDS)
            assert number == syncs.count


async def test_nothing_is_acknowledged_before_the_sync_returned(
    tmp_path: Path, syncs: Syncs, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = disk.write_all

    def write_all(fd: int, buffers: list[bytes]) -> None:
        real(fd, buffers)
        syncs.steps.append("written")

    monkeypatch.setattr(disk, "write_all", write_all)
    async with opened(tmp_path) as into:
        with syncs.held_up():
            future = append(into, b"body")
            future.add_done_callback(lambda _: syncs.steps.append("acknowledged"))
            await until(lambda: syncs.count == 1)
            for _ in range(100):
                await asyncio.sleep(0)
            assert not future.done()
        await future
        await asyncio.sleep(0)
    assert ["written", "sync", "synced", "acknowledged"] == syncs.steps


async def test_a_request_that_was_cancelled_harms_no_other(tmp_path: Path, syncs: Syncs) -> None:
    async with opened(tmp_path) as into:
        with syncs.held_up():
            futures = [append(into, b"%d" % number) for number in range(3)]
            await until(lambda: syncs.count == 1)
            futures[1].cancel()
        await asyncio.gather(futures[0], futures[2])
        await append(into, b"next")
        # Its record was written all the same, and is archived.
        assert [b"0", b"1", b"2", b"next"] == bodies(tmp_path)


# Faults.


async def test_a_failed_sync_refuses_its_group_and_service_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = metrics.spool_failures._value.get()
    async with opened(tmp_path) as into:
        await append(into, b"before")
        fail_once(monkeypatch, "fdatasync", errno.EIO)
        refused = await asyncio.gather(
            append(into, b"one"), append(into, b"two"), return_exceptions=True
        )
        assert [SpoolUnavailable] * 2 == [type(outcome) for outcome in refused]
        assert "the spool's disk failed: Input/output error" == str(refused[0])
        assert ["0.torn"] == names(tmp_path)
        await append(into, b"behind")
        assert ["0.torn", "1.open"] == names(tmp_path)
        found = bodies(tmp_path)
    assert b"before" == found[0]
    assert b"behind" == found[-1]
    assert failures + 1 == metrics.spool_failures._value.get()


async def test_a_full_disk_refuses_its_group_and_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as into:
        await append(into, b"before")
        fail_once(monkeypatch, "writev", errno.ENOSPC)
        refused = await asyncio.gather(
            append(into, b"one" * 50), append(into, b"two" * 50), return_exceptions=True
        )
        assert [SpoolUnavailable] * 2 == [type(outcome) for outcome in refused]
        assert [b"before"] == bodies(tmp_path)
        await append(into, b"behind")
        assert ["0.open"] == names(tmp_path)
        assert [b"before", b"behind"] == bodies(tmp_path)


async def test_a_failure_makes_the_spool_unready_until_the_disk_is_tried_with_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fdatasync
    async with opened(tmp_path) as into:
        tried = 0

        def fail(fd: int) -> None:
            nonlocal tried
            tried += 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(os, "fdatasync", fail)
        with pytest.raises(SpoolUnavailable):
            await append(into, b"refused")
        assert "the spool's disk failed: Input/output error" == into.problem()
        # No request comes, because the door asks first; the disk is tried all the same.
        await until(lambda: tried >= 3)
        assert into.problem() is not None
        monkeypatch.setattr(os, "fdatasync", real)
        await until(lambda: into.problem() is None)
        await append(into, b"taken")


async def test_groups_that_wait_behind_a_failure_are_not_lost(
    tmp_path: Path, syncs: Syncs, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as into:
        fail_once(monkeypatch, "fdatasync", errno.EIO)
        with syncs.held_up():
            first = append(into, b"first")
            await until(lambda: syncs.count == 1)
            second = append(into, b"second")
        with pytest.raises(SpoolUnavailable):
            await first
        await second
        # The disk has shown that it works.
        assert into.problem() is None
        assert b"second" == bodies(tmp_path)[-1]


async def test_a_seal_that_fails_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, batch_bytes=1) as into:
        fail_once(monkeypatch, "rename", errno.EIO)
        await append(into, b"one")
        await append(into, b"two")
        await until(lambda: names(tmp_path) == ["0.seg", "1.open"])
        assert [b"one", b"two"] == bodies(tmp_path)


@pytest.mark.parametrize("name", ["open", "fsync"])
async def test_a_next_segment_that_cannot_be_begun_leaves_no_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    async with opened(tmp_path, batch_bytes=1) as into:
        fail_once(monkeypatch, name, errno.ENOSPC)
        await append(into, b"one")
        await until(lambda: "0.seg" in names(tmp_path))
        await append(into, b"two")
    assert ["0.seg", "1.seg"] == names(tmp_path)
    assert [b"one", b"two"] == bodies(tmp_path)


async def test_without_a_disk_the_spool_opens_all_the_same_and_goes_on_when_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.mkdir
    monkeypatch.setattr(os, "mkdir", refuse(errno.ENOSPC))
    async with opened(tmp_path) as into:
        assert "the spool's disk failed: No space left on device" == into.problem()
        with pytest.raises(SpoolUnavailable):
            await append(into, b"refused")
        monkeypatch.setattr(os, "mkdir", real)
        await until(lambda: into.problem() is None)
        await append(into, b"taken")
        assert [b"taken"] == bodies(tmp_path)


async def test_closing_without_a_disk_raises_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "mkdir", refuse(errno.EROFS))
    async with opened(tmp_path) as into:
        assert into.problem() is not None
    assert [] == names(tmp_path)


async def test_a_disk_that_does_not_answer_is_a_problem_until_it_does(
    tmp_path: Path, syncs: Syncs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_STALLED_SECONDS", 0.05)
    async with opened(tmp_path) as into:
        with syncs.held_up():
            future = append(into, b"waits")
            await until(lambda: into.problem() is not None)
            assert "the spool's disk has not answered for 0.05 s" == into.problem()
            assert not future.done()
        await future
        assert into.problem() is None


async def test_what_waits_for_the_disk_is_bounded(tmp_path: Path, syncs: Syncs) -> None:
    async with opened(tmp_path, unsettled_bytes_max=10_000) as into:
        with syncs.held_up():
            future = append(into, bytes(6_000))
            assert into.problem(3_000) is None
            problem = into.problem(5_000)
        assert "too many bytes wait for the disk (RECEIVER_INFLIGHT_BYTES_MAX)" == problem
        await future
        assert into.problem(5_000) is None


async def test_a_spool_that_cannot_be_measured_takes_nothing_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_MEASURE_SECONDS", 0.01)
    async with opened(tmp_path) as into:
        with monkeypatch.context() as patch:
            patch.setattr(os, "statvfs", refuse(errno.EIO))
            await until(lambda: into.problem() is not None)
            assert "cannot be measured: Input/output error" in str(into.problem())
        await until(lambda: into.problem() is None)


# Sealing.


class Sealed:
    """Notes what the hook is told, and in which thread."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.threads: set[int] = set()

    def __call__(self, name: str) -> None:
        self.names.append(name)
        self.threads.add(threading.get_ident())


async def test_a_segment_is_sealed_when_it_is_large_enough(tmp_path: Path) -> None:
    async with opened(tmp_path, batch_bytes=2000) as into:
        for number in range(20):
            await append(into, b"%02d" % number * 250)
        await until(lambda: "5.open" in names(tmp_path))
    assert ["0.seg", "1.seg", "2.seg", "3.seg", "4.seg"] == names(tmp_path)
    assert [b"%02d" % number * 250 for number in range(20)] == bodies(tmp_path)


async def test_a_segment_is_sealed_when_it_is_old_enough_also_when_nothing_comes(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path, batch_seconds=0.01) as into:
        await append(into, b"one")
        await until(lambda: names(tmp_path) == ["0.seg", "1.open"])
        await append(into, b"two")
        await until(lambda: names(tmp_path) == ["0.seg", "1.seg", "2.open"])


async def test_an_age_of_milliseconds_is_kept_to_the_millisecond(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing but the age itself may wake the committing thread.
    monkeypatch.setattr(committer, "_RETRY_SECONDS", 3600.0)
    loop = asyncio.get_running_loop()
    sealed_at: list[float] = []
    waits: list[float] = []
    async with opened(
        tmp_path, batch_seconds=0.05, sealed=lambda name: sealed_at.append(loop.time())
    ) as into:
        for _ in range(11):
            began = loop.time()
            await append(into, b"alone")
            await until(lambda: len(sealed_at) > len(waits))
            waits.append(sealed_at[-1] - began)
    assert min(waits) >= 0.05
    # The median, because a busy machine may hold up some.
    assert sorted(waits)[5] < 0.15


async def test_the_hook_is_called_in_the_loops_thread_once_the_requests_are_settled(
    tmp_path: Path,
) -> None:
    futures: list[asyncio.Future[Any]] = []
    settled: list[bool] = []
    sealed = Sealed()

    def hook(name: str) -> None:
        sealed(name)
        settled.append(futures[-1].done())

    async with opened(tmp_path, batch_bytes=1, sealed=hook) as into:
        for _ in range(3):
            futures.append(append(into, b"body"))
            await until(lambda: len(sealed.names) == len(futures))
    assert [True] * 3 == settled
    assert {threading.get_ident()} == sealed.threads
    assert [future.result() for future in futures] == sealed.names
    assert [found.name for found in spool.files(tmp_path)] == sealed.names


async def test_a_segment_whose_successor_cannot_be_begun_is_reported_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = Sealed()
    async with opened(tmp_path, batch_bytes=1, sealed=sealed) as into:
        fail_once(monkeypatch, "open", errno.ENOSPC)
        name = await append(into, b"one")
        await until(lambda: sealed.names == [name])


async def test_a_segment_that_was_set_aside_is_not_reported_as_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = Sealed()
    async with opened(tmp_path, batch_seconds=0.3, sealed=sealed) as into:
        torn = await append(into, b"one")
        fail_once(monkeypatch, "fdatasync", errno.EIO)
        with pytest.raises(SpoolUnavailable):
            await append(into, b"two")
        name = await append(into, b"three")
        await until(lambda: bool(sealed.names))
    assert torn != name
    assert [name] == sealed.names


async def test_closing_commits_what_waits_and_seals(tmp_path: Path, syncs: Syncs) -> None:
    async with opened(tmp_path) as into:
        with syncs.held_up():
            futures = [append(into, b"first")]
            await until(lambda: syncs.count == 1)
            futures += [append(into, b"%d" % number) for number in range(50)]
            closing = asyncio.create_task(into.close())
            await asyncio.sleep(0)
        await closing
        await asyncio.gather(*futures)
        assert ["0.seg"] == names(tmp_path)
        assert 51 == len(bodies(tmp_path))
        (directory,) = spool.directories(tmp_path)
        assert not spool.directory.writer_lives(directory)


async def test_closing_at_once_commits_what_waits(tmp_path: Path) -> None:
    async with opened(tmp_path) as into:
        future = append(into, b"one")
    await future
    assert [b"one"] == bodies(tmp_path)


async def test_a_writer_whose_lock_somebody_removed_is_replaced(tmp_path: Path) -> None:
    async with opened(tmp_path) as into:
        await append(into, b"one")
        (old,) = spool.directories(tmp_path)
        (old / "lock").unlink()
        await append(into, b"two")
        assert 2 == len(spool.directories(tmp_path))
        assert into.problem() is None
        # A shipper takes the first writer for dead, and finds all that it acknowledged.
        ready = [found.path.parent for found in spool.files(tmp_path) if found.ready]
        assert [old] == ready
    assert [b"one", b"two"] == bodies(tmp_path)


async def test_closing_an_unused_spool_leaves_nothing_to_ship(tmp_path: Path) -> None:
    async with opened(tmp_path):
        assert ["0.open"] == names(tmp_path)
    spool.bury(tmp_path)
    assert [] == os.listdir(tmp_path)  # noqa: PTH208 # pathlib's would be an async rule's concern


# Limits.


async def test_a_spool_takes_no_more_than_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Records that are written during a measurement count twice until the next one.
    monkeypatch.setattr(room, "_MEASURE_SECONDS", 3600.0)
    async with opened(tmp_path, spool_bytes_max=10_000) as into:
        taken = 0
        while taken < 20 and into.problem(1000) is None:
            await append(into, bytes(1000))
            taken += 1
        assert 9 == taken
        assert "the spool is full (RECEIVER_SPOOL_BYTES_MAX)" == into.problem(1000)
        assert into.problem(100) is None


async def test_bytes_that_others_left_count(tmp_path: Path) -> None:
    other = Writer(tmp_path)
    other.write([bytes(9_500)], records=1)
    async with opened(tmp_path, spool_bytes_max=10_000) as into:
        assert into.problem(400) is None
        assert "the spool is full (RECEIVER_SPOOL_BYTES_MAX)" == into.problem(600)
        # Another process goes on writing; that is seen without an append here.
        other.write([bytes(600)], records=1)
        await until(lambda: into.problem() is not None)


async def test_room_is_seen_again_once_segments_were_shipped(tmp_path: Path) -> None:
    other = Writer(tmp_path)
    other.write([bytes(10_500)], records=1)
    other.close()
    async with opened(tmp_path, spool_bytes_max=10_000) as into:
        assert into.problem() is not None
        (tmp_path / other.process / f"{other.process}-0.seg").unlink()
        await until(lambda: into.problem(9_000) is None)


async def test_the_reserve_of_the_disk_is_left_alone(tmp_path: Path) -> None:
    volume = os.statvfs(tmp_path)
    reserve = volume.f_bavail * volume.f_frsize + (1 << 40)
    async with opened(tmp_path, disk_reserve_bytes=reserve) as into:
        assert "the spool is full (RECEIVER_DISK_RESERVE_BYTES)" == into.problem()


async def test_what_is_not_on_disk_yet_counts_too(tmp_path: Path, syncs: Syncs) -> None:
    async with opened(tmp_path, spool_bytes_max=10_000) as into:
        with syncs.held_up():
            futures = [append(into, bytes(4_000)) for _ in range(2)]
            assert into.problem(1_000) is None
            assert into.problem(2_000) is not None
        await asyncio.gather(*futures)


async def test_measuring_forgets_nothing_that_is_on_its_way_to_the_disk(
    tmp_path: Path, syncs: Syncs, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = threading.Semaphore(0)
    real = room.measure_room

    def measure(*given: Any, **named: Any) -> spool.Room:
        measured.release()
        return real(*given, **named)

    monkeypatch.setattr(room, "_MEASURE_SECONDS", 0.0)
    async with opened(tmp_path, spool_bytes_max=10_000) as into:
        with syncs.held_up():
            first = append(into, bytes(4_000))
            await until(lambda: syncs.count == 1)
            monkeypatch.setattr(room, "measure_room", measure)
            second = append(into, bytes(4_000))
            await until(lambda: measured.acquire(blocking=False))
            assert into.problem(2_000) is not None
        await asyncio.gather(first, second)
        assert measured.acquire(timeout=DEADLINE_SECONDS)
        for _ in range(50):
            assert into.problem(2_000) is not None
            await asyncio.sleep(0.001)


async def test_measuring_forgets_nothing_that_reached_the_disk_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured, go_on = threading.Event(), threading.Event()
    real = room.measure_room

    def measure(*given: Any, **named: Any) -> spool.Room:
        found = real(*given, **named)
        measured.set()
        assert go_on.wait(DEADLINE_SECONDS)
        return found

    monkeypatch.setattr(room, "_MEASURE_SECONDS", 0.0)
    async with opened(tmp_path, spool_bytes_max=10_000) as into:
        monkeypatch.setattr(room, "measure_room", measure)
        await until(measured.is_set)
        monkeypatch.setattr(room, "_MEASURE_SECONDS", 3600.0)
        for _ in range(2):
            await append(into, bytes(4_000))
        go_on.set()
        for _ in range(50):
            assert into.problem(2_000) is not None
            await asyncio.sleep(0.001)
