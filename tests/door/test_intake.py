"""Bodies in flight: bounded in bytes and in time, with nothing held when they end."""

import asyncio
import contextlib
from collections.abc import Iterator

import pytest

from receiver.door import intake as intakes
from receiver.door.intake import Body, Intake
from receiver.errors import Rejected, SpoolUnavailable

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def intake(monkeypatch: pytest.MonkeyPatch) -> Intake:
    monkeypatch.setattr(intakes, "_LOOK_SECONDS", 0.01)
    return Intake(body_bytes_max=1000, body_seconds_max=0.05, inflight_bytes_max=1500)


class Reading(Body):
    """A body that is read until it is interrupted."""

    def __init__(self) -> None:
        self.interrupted = asyncio.Event()
        super().__init__(self.interrupted.set)


@contextlib.contextmanager
def reading(intake: Intake, claimed: int = 0) -> Iterator[Reading]:
    body = Reading()
    try:
        intake.hold(body, claimed)
        yield body
    finally:
        intake.release(body)


async def test_a_claim_counts_at_once_and_bytes_count_as_they_arrive(intake: Intake) -> None:
    with reading(intake, claimed=400) as body:
        assert 400 == intake.inflight_bytes
        intake.count(body, 300)
        assert 400 == intake.inflight_bytes
        intake.count(body, 900)
        assert 900 == intake.inflight_bytes
    assert 0 == intake.inflight_bytes


async def test_a_claim_that_finds_no_room_reserves_none(intake: Intake) -> None:
    with reading(intake, claimed=1000):
        with pytest.raises(SpoolUnavailable):
            intake.hold(Reading(), 501)
        assert 1000 == intake.inflight_bytes
        with reading(intake) as body:
            with pytest.raises(SpoolUnavailable):
                intake.count(body, 501)
            assert 1000 == intake.inflight_bytes
            intake.count(body, 500)
            assert 1500 == intake.inflight_bytes


async def test_a_body_over_the_limit_is_refused_by_claim_and_by_count(intake: Intake) -> None:
    with pytest.raises(Rejected) as by_claim:
        intake.hold(Reading(), 1001)
    with reading(intake) as body:
        intake.count(body, 1000)
        with pytest.raises(Rejected) as by_count:
            intake.count(body, 1001)
    for caught in (by_claim, by_count):
        assert (413, "body_too_large") == (caught.value.answer_status, caught.value.reason)
    assert 0 == intake.inflight_bytes


async def test_only_the_bodies_that_are_late_are_interrupted(intake: Intake) -> None:
    with contextlib.ExitStack() as stack:
        late = [stack.enter_context(reading(intake, claimed=20)) for _ in range(5)]
        complete = stack.enter_context(reading(intake))
        intake.complete(complete)
        with reading(intake) as released:
            pass
        for body in late:
            await asyncio.wait_for(body.interrupted.wait(), 20)
        with reading(intake) as young:
            await asyncio.sleep(0.02)
            others = (complete, released, young)
            assert not any(body.interrupted.is_set() or body.late for body in others)
        assert all(body.late for body in late)
    assert 0 == intake.inflight_bytes


async def test_an_interrupted_body_may_be_released_at_once(intake: Intake) -> None:
    released: list[Body] = []

    def release() -> None:
        body = bodies[len(released)]
        released.append(body)
        intake.release(body)

    bodies = [Body(release) for _ in range(3)]
    for body in bodies:
        intake.hold(body, 10)
    async with asyncio.timeout(20):
        while intake.inflight_bytes:  # noqa: ASYNC110 # no event announces it
            await asyncio.sleep(0.001)
    assert 3 == len(released)


async def test_the_time_of_a_later_body_is_limited_too(intake: Intake) -> None:
    # The timer stops while nothing is read, and starts again with the next body.
    for _ in range(2):
        with reading(intake) as body:
            await asyncio.wait_for(body.interrupted.wait(), 20)
        await asyncio.sleep(0.03)


async def test_a_body_that_is_too_slow_is_our_fault(intake: Intake) -> None:
    refusal = intake.too_slow()
    assert (503, "body_too_slow", True) == (
        refusal.answer_status,
        refusal.reason,
        refusal.closes,
    )
    assert "0.05 s" in str(refusal)
