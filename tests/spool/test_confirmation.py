"""With `RECEIVER_ACK=archive` a request waits until the archive has its segment."""

import asyncio
from pathlib import Path

import pytest

from receiver.errors import SpoolUnavailable
from receiver.spool import ArchiveAck
from receiver.spool.confirmation import Confirmations
from tests.spool.test_group_commit import append, bodies, names, opened, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Sealed:
    """Notes what was sealed."""

    def __init__(self, *, gather_seconds: float = 0.01, seconds_max: float = 30.0) -> None:
        self.names: list[str] = []
        self.ack = ArchiveAck(
            gather_seconds=gather_seconds, seconds_max=seconds_max, sealed=self.names.append
        )


async def waits(future: "asyncio.Future[None]") -> bool:
    """Say whether a future is not done, after the loop had its turns."""
    for _ in range(10):
        await asyncio.sleep(0)
    return not future.done()


async def test_a_request_waits_until_its_segment_is_confirmed(tmp_path: Path) -> None:
    sealed = Sealed()
    async with opened(tmp_path, archive_ack=sealed.ack) as it:
        first = append(it, b"first")
        await until(lambda: len(sealed.names) == 1)
        second = append(it, b"second")
        await until(lambda: len(sealed.names) == 2)
        assert await waits(first)
        it.confirm(sealed.names[1])
        await second
        assert await waits(first)
        it.confirm(sealed.names[0])
        await first
    assert [b"first", b"second"] == bodies(tmp_path)


async def test_what_gathers_is_sealed_together(tmp_path: Path) -> None:
    sealed = Sealed(gather_seconds=0.2)
    async with opened(tmp_path, archive_ack=sealed.ack) as it:
        futures = [append(it, b"%d" % n) for n in range(20)]
        await until(lambda: bool(sealed.names))
        it.confirm(sealed.names[0])
        await asyncio.gather(*futures)
    assert 1 == len(sealed.names)
    assert ["0.seg"] == names(tmp_path)


async def test_a_full_segment_is_sealed_before_its_time(tmp_path: Path) -> None:
    sealed = Sealed(gather_seconds=3600.0)
    async with opened(tmp_path, archive_ack=sealed.ack, batch_bytes=1000) as it:
        future = append(it, bytes(2000))
        await until(lambda: bool(sealed.names))
        it.confirm(sealed.names[0])
        await future


async def test_what_is_not_confirmed_in_time_is_refused_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(Confirmations.__init__, "__kwdefaults__", {"now": lambda: now})
    sealed = Sealed(seconds_max=8.0)
    async with opened(tmp_path, archive_ack=sealed.ack) as it:
        late = append(it, b"late")
        await until(lambda: len(sealed.names) == 1)
        now = 8.0
        with pytest.raises(SpoolUnavailable, match="archive has not confirmed"):
            await late
        # Until the archive has it, nobody need wait to be refused.
        assert "archive" in str(it.unconfirmed())
        it.confirm(sealed.names[0])
        assert it.unconfirmed() is None
        # The next has all the time that it needs.
        again = append(it, b"again")
        await until(lambda: len(sealed.names) == 2)
        now = 15.9
        assert await waits(again)
        it.confirm(sealed.names[1])
        await again
    assert [b"late", b"again"] == bodies(tmp_path)


async def test_what_is_confirmed_by_nobody_is_forgotten_and_the_archive_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(Confirmations.__init__, "__kwdefaults__", {"now": lambda: now})
    sealed = Sealed(seconds_max=8.0)
    async with opened(tmp_path, archive_ack=sealed.ack) as it:
        # Another shipper of the same spool ships it, and says nothing here.
        lost = append(it, b"lost")
        await until(lambda: len(sealed.names) == 1)
        now = 15.9
        with pytest.raises(SpoolUnavailable):
            await lost
        assert "archive" in str(it.unconfirmed())
        now = 16.0
        await until(lambda: it.unconfirmed() is None)
        again = append(it, b"again")
        await until(lambda: len(sealed.names) == 2)
        it.confirm(sealed.names[1])
        await again


async def test_a_request_that_went_away_is_not_in_the_way(tmp_path: Path) -> None:
    sealed = Sealed()
    async with opened(tmp_path, archive_ack=sealed.ack) as it:
        gone, there = append(it, b"gone"), append(it, b"there")
        gone.cancel()
        await until(lambda: bool(sealed.names))
        it.confirm(sealed.names[0])
        await there


async def test_without_it_the_disk_is_enough(tmp_path: Path) -> None:
    async with opened(tmp_path) as it:
        await append(it, b"body")
        assert it.unconfirmed() is None


async def test_the_oldest_segment_decides() -> None:
    now = 0.0
    confirmations = Confirmations(seconds_max=8.0, now=lambda: now)
    loop = asyncio.get_running_loop()
    old, new = loop.create_future(), loop.create_future()
    confirmations.wait("old", [old])
    now = 5.0
    confirmations.wait("new", [new])
    now = 7.9
    confirmations.give_up()
    assert confirmations.problem() is None
    now = 8.0
    confirmations.give_up()
    assert "8 s" in str(confirmations.problem())
    assert isinstance(old.exception(), SpoolUnavailable)
    assert not new.done()
    confirmations.confirm("old")
    assert confirmations.problem() is None
    confirmations.confirm("nobody's")
    confirmations.confirm("new")
    assert new.result() is None


async def test_age_seals_too_where_callbacks_may_gather_for_longer(tmp_path: Path) -> None:
    sealed = Sealed(gather_seconds=3600.0)
    async with opened(tmp_path, archive_ack=sealed.ack, batch_seconds=0.05) as it:
        future = append(it, b"body")
        await until(lambda: bool(sealed.names))
        it.confirm(sealed.names[0])
        await future
