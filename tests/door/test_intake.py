"""Bodies while they are read: bounded in bytes and in time, and nothing held when they end."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.types import Message

from receiver.door import intake as intakes
from receiver.door.intake import Intake
from receiver.errors import Disconnected, Rejected, SpoolUnavailable

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def intake(monkeypatch: pytest.MonkeyPatch) -> Intake:
    monkeypatch.setattr(intakes, "_LOOK_SECONDS", 0.01)
    return Intake(body_bytes_max=1000, body_seconds_max=0.05, inflight_bytes_max=1500)


async def pieces(*chunks: bytes, end: str = "http.request") -> AsyncIterator[Message]:
    for chunk in chunks:
        yield {"type": "http.request", "body": chunk, "more_body": True}
    yield {"type": end}


async def stuck(*chunks: bytes) -> AsyncIterator[Message]:
    for chunk in chunks:
        yield {"type": "http.request", "body": chunk, "more_body": True}
    await asyncio.Event().wait()


async def read(intake: Intake, messages: AsyncIterator[Message], *, claimed: int = 0) -> bytes:
    """Read a body as the door does."""
    holding = intake.hold(claimed)
    try:
        return b"".join(await intake.read(lambda: anext(messages), holding))
    finally:
        intake.release(holding)


async def test_a_body_is_all_of_its_pieces(intake: Intake) -> None:
    assert b"one two" == await read(intake, pieces(b"one", b"", b" two"))
    assert b"" == await read(intake, pieces())
    assert 0 == intake.inflight_bytes


async def test_what_is_claimed_counts_at_once_and_what_comes_counts_as_it_comes(
    intake: Intake,
) -> None:
    holding = intake.hold(400)
    assert 400 == intake.inflight_bytes
    messages = pieces(b"x" * 300, b"x" * 600)
    body = await intake.read(lambda: anext(messages), holding)
    assert 900 == sum(map(len, body))
    assert 900 == intake.inflight_bytes
    intake.release(holding)
    assert 0 == intake.inflight_bytes


async def test_a_claim_that_finds_no_room_takes_none(intake: Intake) -> None:
    first = intake.hold(1000)
    with pytest.raises(SpoolUnavailable):
        intake.hold(501)
    assert 1000 == intake.inflight_bytes
    with pytest.raises(SpoolUnavailable):
        await read(intake, pieces(b"x" * 501))
    assert 1000 == intake.inflight_bytes
    assert 500 == len(await read(intake, pieces(b"x" * 500)))
    intake.release(first)


async def test_a_body_over_the_limit_is_refused_by_claim_and_by_count(intake: Intake) -> None:
    for claimed, messages in [(1001, pieces()), (0, pieces(b"x" * 600, b"x" * 401))]:
        with pytest.raises(Rejected) as caught:
            await read(intake, messages, claimed=claimed)
        assert (413, "body_too_large") == (caught.value.answer_status, caught.value.reason)
    assert 0 == intake.inflight_bytes


async def test_a_client_that_goes_away_is_no_body(intake: Intake) -> None:
    with pytest.raises(Disconnected):
        await read(intake, pieces(b"x", end="http.disconnect"), claimed=900)
    assert 0 == intake.inflight_bytes


async def test_only_the_bodies_that_are_late_are_interrupted(intake: Intake) -> None:
    late = [asyncio.create_task(read(intake, stuck(b"x" * 10), claimed=20)) for _ in range(5)]
    for _ in range(20):
        assert b"quick" == await read(intake, pieces(b"quick"))
    for outcome in await asyncio.gather(*late, return_exceptions=True):
        assert isinstance(outcome, Rejected)
        assert (503, "body_too_slow") == (outcome.answer_status, outcome.reason)
    assert 0 == intake.inflight_bytes
    assert not any(task.cancelled() for task in late)


async def test_a_request_that_was_late_is_not_cancelled_any_further(intake: Intake) -> None:
    async def request() -> str:
        try:
            await read(intake, stuck())
        except Rejected:
            await asyncio.sleep(0)  # the answer is sent
            task = asyncio.current_task()
            assert task is not None
            assert 0 == task.cancelling()
            return "answered"
        return "read"

    assert "answered" == await asyncio.create_task(request())


async def test_a_request_that_is_cancelled_from_outside_stays_cancelled(intake: Intake) -> None:
    reading = asyncio.create_task(read(intake, stuck(b"x"), claimed=100))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert 0 == intake.inflight_bytes


async def test_time_counts_again_for_each_body(intake: Intake) -> None:
    # The looking stops when nothing is read, and begins again with the next body.
    for _ in range(2):
        with pytest.raises(Rejected):
            await read(intake, stuck())
