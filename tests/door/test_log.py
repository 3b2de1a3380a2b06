"""The log as the door sees it, and the one that is opened later."""

import asyncio
from pathlib import Path

import pytest

from receiver import spool
from receiver.door import DeferredLog, Log
from receiver.errors import SpoolUnavailable
from receiver.providers.envelope import encode_head
from tests.door.place import make_spool

pytestmark = pytest.mark.anyio

HEAD = encode_head(("id", 1, "diffbot", "notification", "callback", None, "i"), "POST", b"/", [])


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_spool_is_a_log(tmp_path: Path) -> None:
    kept = make_spool(tmp_path, spool_bytes_max=1000)
    log: Log = kept
    assert log.problem() is None
    assert log.problem(2000) is not None
    await log.append(HEAD, [b"a ", b"body"], body_bytes=6)
    await kept.close()


async def test_a_deferred_log_takes_records_only_while_it_is_open(tmp_path: Path) -> None:
    log = DeferredLog(lambda: make_spool(tmp_path, spool_bytes_max=1000))

    def is_closed() -> bool:
        with pytest.raises(SpoolUnavailable, match="the spool is not open"):
            log.append(HEAD, [], body_bytes=0)
        return "the spool is not open" in (log.problem() or "")

    assert is_closed()
    assert [] == spool.directories(tmp_path)
    for _ in range(2):
        async with log.opened():
            assert log.problem() is None
            assert "full" in (log.problem(2000) or "")
            await log.append(HEAD, [b"body"], body_bytes=4)
            with pytest.raises(RuntimeError):
                await log.opened().__aenter__()
            assert log.problem() is None
        assert is_closed()
    # A directory for each opening, and all of it sealed.
    sealed = [found.path for found in spool.files(tmp_path) if found.bytes]
    assert [".seg", ".seg"] == [path.suffix for path in sealed]
    assert 2 == len({path.parent for path in sealed})


async def test_what_was_appended_before_the_end_is_durable(tmp_path: Path) -> None:
    log = DeferredLog(lambda: make_spool(tmp_path))
    async with log.opened():
        appending = [asyncio.ensure_future(log.append(HEAD, [], body_bytes=0)) for _ in range(5)]
    await asyncio.gather(*appending)


async def test_a_log_that_cannot_be_opened_stays_closed() -> None:
    def fail() -> spool.Spool:
        raise OSError("no disk")

    log = DeferredLog(fail)
    with pytest.raises(OSError, match="no disk"):
        await log.opened().__aenter__()
    assert log.problem() is not None
