"""`RECEIVER_ACK=archive`: a request waits for the archive, and its segment is shipped at once."""

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from receiver import metrics
from receiver.archive import COMPRESSIONS
from receiver.errors import SpoolUnavailable, StoreError
from receiver.providers import PROVIDERS
from receiver.shipper import Shipper
from receiver.spool import ArchiveAck, EarlyShipping, Spool, archive_ack, segment
from receiver.store import DirectoryStore
from tests.spool.helpers import Syncs, bodies, names, opened, refuse, until
from tests.tools.deliveries import head_of, segment_file

pytestmark = pytest.mark.anyio


# The server process: requests wait.


class Front:
    """A spool with `ACK=archive` in front of it; notes what is sealed; its clock stands still."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sealed: list[str] = []
        self.spool: Spool
        self.ack: ArchiveAck

    def append(self, body: bytes) -> "asyncio.Task[None]":
        """Let a request append a record."""
        appending: Coroutine[Any, Any, None] = self.ack.append(
            b"head", [body[:3], body[3:]], body_bytes=len(body)
        )
        return asyncio.create_task(appending)

    async def append_sealed(self, body: bytes) -> tuple["asyncio.Task[None]", str]:
        """Append a record that has a segment of its own; return the request and the segment."""
        count = len(self.sealed)
        request = self.append(body)
        await until(lambda: len(self.sealed) > count)
        return request, self.sealed[-1]


@contextlib.asynccontextmanager
async def fronted(
    root: Path, *, seconds_max: float = 30.0, batch_seconds: float = 0.01, **options: Any
) -> AsyncIterator[Front]:
    """Open a spool that seals early, with a front that refuses what waits too long."""
    front = Front()
    async with opened(
        root, batch_seconds=batch_seconds, sealed=front.sealed.append, **options
    ) as front.spool:
        front.ack = ArchiveAck(front.spool, seconds_max=seconds_max, now=lambda: front.now)
        yield front
        await front.ack.close()


async def waits(request: "asyncio.Future[None]") -> bool:
    """Return whether a request is not done after some turns of the loop."""
    for _ in range(10):
        await asyncio.sleep(0)
    return not request.done()


async def test_a_request_waits_until_its_segment_is_confirmed(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front:
        first, segment_of_first = await front.append_sealed(b"first")
        second, segment_of_second = await front.append_sealed(b"second")
        assert await waits(first)
        front.ack.confirm(segment_of_second)
        await second
        assert await waits(first)
        front.ack.confirm(segment_of_first)
        await first
    assert [b"first", b"second"] == bodies(tmp_path)


async def test_the_segments_of_others_confirm_nothing(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front:
        request, name = await front.append_sealed(b"body")
        front.ack.confirm(segment.name_of(segment.process_of(name), 1))
        front.ack.confirm("not a segment")
        assert await waits(request)
        front.ack.confirm(name)
        await request


async def test_a_request_waits_for_the_disk_too(tmp_path: Path, syncs: Syncs) -> None:
    async with fronted(tmp_path) as front:
        with syncs.held_up():
            request = front.append(b"body")
            await until(lambda: syncs.count == 1)
            for number in range(3):
                front.ack.confirm(segment_name(tmp_path, number))
            assert await waits(request)
        await until(lambda: bool(front.sealed))
        assert await waits(request)
        front.ack.confirm(front.sealed[0])
        await request


def segment_name(root: Path, number: int) -> str:
    """Return the name of the segment with this number of the only process."""
    (directory,) = root.iterdir()
    return segment.name_of(directory.name, number)


async def test_a_failing_disk_refuses_without_waiting_for_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fronted(tmp_path) as front:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", refuse(errno.EIO))
            with pytest.raises(SpoolUnavailable, match="disk failed: Input/output error"):
                await front.append(b"body")
            assert "disk failed" in str(front.ack.problem())


async def test_callbacks_that_gather_share_a_segment(tmp_path: Path) -> None:
    async with fronted(tmp_path, batch_seconds=0.2) as front:
        requests = [front.append(b"%d" % n) for n in range(20)]
        await until(lambda: bool(front.sealed))
        front.ack.confirm(front.sealed[0])
        await asyncio.gather(*requests)
    assert 1 == len(front.sealed)
    assert ["0.seg"] == names(tmp_path)


async def test_a_full_segment_is_sealed_before_its_time(tmp_path: Path) -> None:
    async with fronted(tmp_path, batch_seconds=3600.0, batch_bytes=1000) as front:
        request, name = await front.append_sealed(bytes(2000))
        front.ack.confirm(name)
        await request


async def test_a_request_that_is_not_confirmed_in_time_is_refused_and_its_record_kept(
    tmp_path: Path,
) -> None:
    async with fronted(tmp_path, seconds_max=8.0) as front:
        late, name_of_late = await front.append_sealed(b"late")
        front.now = 7.9
        assert front.ack.problem() is None
        front.now = 8.0
        with pytest.raises(SpoolUnavailable, match="the archive has not confirmed for 8 s"):
            await late
        # Until the archive has it, new requests are refused at the door.
        assert "the archive has not confirmed for 8 s" == front.ack.problem()
        # The disk is well, and that is all that readiness asks.
        assert front.spool.problem() is None
        front.ack.confirm(name_of_late)
        assert front.ack.problem() is None
        # The next request has all the time that it needs.
        again, name_of_again = await front.append_sealed(b"again")
        front.now = 15.9
        assert await waits(again)
        front.ack.confirm(name_of_again)
        await again
    assert [b"late", b"again"] == bodies(tmp_path)


async def test_a_segment_that_is_never_confirmed_is_forgotten_and_the_archive_tried_again(
    tmp_path: Path,
) -> None:
    async with fronted(tmp_path, seconds_max=8.0) as front:
        # A shipper elsewhere takes it, and reports nothing here.
        lost, _ = await front.append_sealed(b"lost")
        front.now = 15.9
        with pytest.raises(SpoolUnavailable):
            await lost
        assert "archive" in str(front.ack.problem())
        front.now = 16.0
        await until(lambda: front.ack.problem() is None)
        again, name = await front.append_sealed(b"again")
        front.ack.confirm(name)
        await again


async def test_the_oldest_segment_decides(tmp_path: Path) -> None:
    async with fronted(tmp_path, seconds_max=8.0) as front:
        old, name_of_old = await front.append_sealed(b"old")
        front.now = 5.0
        new, name_of_new = await front.append_sealed(b"new")
        front.now = 8.0
        front.ack.give_up()
        assert "8 s" in str(front.ack.problem())
        with pytest.raises(SpoolUnavailable):
            await old
        assert await waits(new)
        front.ack.confirm(name_of_old)
        assert front.ack.problem() is None
        front.ack.confirm(name_of_new)
        await new


async def test_a_request_of_a_segment_that_was_set_aside_is_refused_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fronted(tmp_path, seconds_max=8.0, batch_seconds=3600.0) as front:
        durable = front.append(b"durable")
        await until(lambda: bool(front.ack._segments))
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", refuse(errno.EIO))
            with pytest.raises(SpoolUnavailable, match="disk"):
                await front.append(b"refused")
        later = front.append(b"later")
        await until(lambda: len(front.ack._segments) == 2)
        # Its own segment confirms it, and no other.
        front.ack.confirm(segment_name(tmp_path, 1))
        await later
        assert await waits(durable)
        front.now = 8.0
        with pytest.raises(SpoolUnavailable, match="archive"):
            await durable


async def test_a_request_that_was_cancelled_harms_no_other(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front:
        gone, there = front.append(b"gone"), front.append(b"there")
        await until(lambda: bool(front.sealed))
        gone.cancel()
        assert await waits(there)
        front.ack.confirm(front.sealed[0])
        await there
        assert gone.cancelled()


async def test_a_problem_of_the_spool_is_one_of_the_front(tmp_path: Path) -> None:
    async with fronted(tmp_path, spool_bytes_max=10_000) as front:
        assert front.ack.problem(1000) is None
        assert "the spool is full (RECEIVER_SPOOL_BYTES_MAX)" == front.ack.problem(10_000)


async def test_the_time_from_the_disk_to_the_archive_is_measured(tmp_path: Path) -> None:
    before = metrics.archive_ack_seconds._sum.get()
    async with fronted(tmp_path) as front:
        request, name = await front.append_sealed(b"body")
        front.now = 3.0
        front.ack.confirm(name)
        await request
    assert before + 3.0 == metrics.archive_ack_seconds._sum.get()


async def test_closing_seals_what_the_spool_holds(tmp_path: Path) -> None:
    async with fronted(tmp_path, batch_seconds=3600.0) as front:
        request = front.append(b"body")
        await asyncio.sleep(0)
        await front.ack.close()
        assert ["0.seg"] == names(tmp_path)
        front.ack.confirm(segment_name(tmp_path, 0))
        await request


# The parent: sealed segments are shipped at once.

RECORD = [(head_of(), b"body")]


class Server:
    """Notes what was confirmed."""

    def __init__(self) -> None:
        self.confirmed: list[str] = []

    def confirm(self, name: str) -> None:
        self.confirmed.append(name)


class Unwilling(DirectoryStore):
    """Refuses a number of puts."""

    refusals = 0

    def put(self, key: str, content: bytes) -> None:
        if self.refusals:
            self.refusals -= 1
            raise StoreError("not now")
        super().put(key, content)


class Place:
    """A spool, its archive, and both ways to ship."""

    def __init__(self, root: Path) -> None:
        self.spool = root / "spool"
        self.store = Unwilling(root / "archive")
        self.shipper = Shipper(
            store=self.store,
            providers=PROVIDERS,
            compression=COMPRESSIONS["gzip"],
            inflated_bytes_max=1 << 20,
            concurrency=1,
        )
        self.early = self.early_shipping(self.shipper.ship_one)
        self.server = Server()

    def early_shipping(
        self, ship_one: Callable[[Path], object | None], *, seconds_max: float = 30.0
    ) -> EarlyShipping:
        return EarlyShipping(ship_one, self.spool, threads=2, seconds_max=seconds_max)

    def ship(self) -> None:
        self.shipper.ship(self.spool, shipped=lambda name, done: self.early.shipped(name))


@pytest.fixture
async def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_a_sealed_segment_is_shipped_and_confirmed(place: Place) -> None:
    path = segment_file(place.spool, RECORD)
    place.early.sealed(place.server, path.stem)
    await until(lambda: place.server.confirmed == [path.stem])
    assert not path.exists()
    (index,) = place.store.list("index/")
    assert path.stem in index.key


async def test_a_store_that_fails_for_a_moment_is_tried_again(place: Place) -> None:
    place.store.refusals = 2
    path = segment_file(place.spool, RECORD)
    place.early.sealed(place.server, path.stem)
    await until(lambda: place.server.confirmed == [path.stem])


async def test_a_segment_that_a_pass_ships_first_is_confirmed_too(place: Place) -> None:
    path = segment_file(place.spool, RECORD)
    # The pass sees the file before the server process's message arrives.
    place.ship()
    await until(lambda: path.stem in place.early._shipped)
    place.early.sealed(place.server, path.stem)
    assert [path.stem] == place.server.confirmed
    assert not place.early._shipped


async def test_a_segment_that_a_pass_ships_meanwhile_is_confirmed_once(place: Place) -> None:
    path = segment_file(place.spool, RECORD)
    place.early.sealed(place.server, path.stem)
    place.ship()
    await until(lambda: bool(place.server.confirmed))
    second = segment_file(place.spool, RECORD)
    place.early.sealed(place.server, second.stem)
    await until(lambda: second.stem in place.server.confirmed)
    assert [path.stem, second.stem] == place.server.confirmed


async def test_a_segment_that_is_not_in_the_spool_is_not_taken_for_archived(place: Place) -> None:
    path = segment_file(place.spool, RECORD)
    path.unlink()
    place.early.sealed(place.server, path.stem)
    other = segment_file(place.spool, RECORD)
    place.early.sealed(place.server, other.stem)
    await until(lambda: other.stem in place.server.confirmed)
    assert [other.stem] == place.server.confirmed


async def test_a_segment_that_cannot_be_shipped_in_time_is_left_to_the_pass(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_ack, "_RETRY_SECONDS", 0.01)
    tries = 0

    def ship_one(path: Path) -> object | None:
        nonlocal tries
        tries += 1
        raise StoreError("not now")

    place.early = place.early_shipping(ship_one, seconds_max=0.1)
    path = segment_file(place.spool, RECORD)
    place.early.sealed(place.server, path.stem)
    await until(lambda: not place.early._under_way)
    assert tries > 1
    assert [] == place.server.confirmed
    place.ship()
    await until(lambda: place.server.confirmed == [path.stem])


async def test_the_memory_of_what_passes_shipped_is_bounded(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_ack, "_REMEMBERED_MAX", 3)
    written = [segment_file(place.spool, RECORD).stem for _ in range(5)]
    for name in written:
        place.early.shipped(name)
    await until(lambda: written[-1] in place.early._shipped)
    assert written[-3:] == list(place.early._shipped)
