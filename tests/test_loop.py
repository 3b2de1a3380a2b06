"""A pass is repeated, backs off after failures, and stops on request."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest

from receiver import loop, metrics

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Passes:
    """Counts passes, fails some, and stops after the last."""

    def __init__(self, count: int, failing: set[int] | None = None) -> None:
        self.count = count
        self.failing = failing or set()
        self.stop = asyncio.Event()
        self.ran = 0

    async def run(self) -> None:
        self.ran += 1
        if self.ran == self.count:
            self.stop.set()
        if self.ran in self.failing:
            raise RuntimeError("no luck")


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return how long each pause would have been; none is made."""
    made: list[float] = []
    real = asyncio.timeout

    def timeout(seconds: float) -> asyncio.Timeout:
        made.append(seconds)
        return real(0)

    monkeypatch.setattr(asyncio, "timeout", timeout)
    return made


async def repeat(passes: Passes, *, interval: float = 7.0, longest: float = 30.0) -> None:
    await loop.repeat(
        "test", passes.run, interval_seconds=interval, retry_seconds_max=longest, stop=passes.stop
    )


async def test_a_pass_is_repeated_at_its_interval(pauses: list[float]) -> None:
    passes = Passes(4)
    await repeat(passes)
    assert 4 == passes.ran
    assert [7.0] * 4 == pauses


async def test_pauses_double_while_passes_fail_up_to_the_longest(pauses: list[float]) -> None:
    await repeat(Passes(9, failing=set(range(1, 10))))
    longest = [1, 2, 4, 8, 16, 30, 30, 30, 30]
    assert len(longest) == len(pauses)
    for pause, bound in zip(pauses, longest, strict=True):
        assert bound / 2 <= pause <= bound


async def test_instances_that_fail_together_do_not_retry_together(pauses: list[float]) -> None:
    for _ in range(20):
        await repeat(Passes(1, failing={1}))
    assert len(set(pauses)) > 10


async def test_a_success_ends_the_back_off(pauses: list[float]) -> None:
    await repeat(Passes(5, failing={1, 2, 4}))
    assert pauses[0] <= 1
    assert 1 <= pauses[1] <= 2
    assert 7.0 == pauses[2]
    assert pauses[3] <= 1
    assert 7.0 == pauses[4]


async def test_many_failures_do_not_overflow(pauses: list[float]) -> None:
    await repeat(Passes(1200, failing=set(range(1, 1200))))
    assert 30.0 >= max(pauses[:-1])


async def test_a_failure_is_counted_and_logged(
    pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    before = metrics.pass_failures.labels("test")._value.get()
    await repeat(Passes(3, failing={1, 2}))
    assert before + 2 == metrics.pass_failures.labels("test")._value.get()
    assert [1, 2] == [record.__dict__["failures"] for record in caplog.records]
    assert ["no luck"] * 2 == [record.__dict__["error"] for record in caplog.records]


async def test_nothing_runs_once_it_was_stopped() -> None:
    passes = Passes(1)
    passes.stop.set()
    await repeat(passes)
    assert 0 == passes.ran


async def test_a_stop_cuts_the_pause_short() -> None:
    stop = asyncio.Event()
    ran = asyncio.Event()

    async def run() -> None:
        ran.set()

    repeating = asyncio.create_task(
        loop.repeat("test", run, interval_seconds=3600, retry_seconds_max=1, stop=stop)
    )
    await ran.wait()
    stop.set()
    async with asyncio.timeout(60):
        await repeating


async def test_the_pass_under_way_is_not_cut_off() -> None:
    stop = asyncio.Event()
    began, go_on = asyncio.Event(), asyncio.Event()
    ended = itertools.count()

    async def run() -> None:
        began.set()
        await go_on.wait()
        next(ended)

    repeating = asyncio.create_task(
        loop.repeat("test", run, interval_seconds=0, retry_seconds_max=1, stop=stop)
    )
    await began.wait()
    stop.set()
    go_on.set()
    await repeating
    assert 1 == next(ended)


async def test_a_cancelled_pass_is_not_a_failed_one() -> None:
    began = asyncio.Event()

    async def run() -> None:
        began.set()
        await asyncio.Event().wait()

    pass_: Callable[[], Awaitable[object]] = run
    repeating = asyncio.create_task(
        loop.repeat("t", pass_, interval_seconds=0, retry_seconds_max=1, stop=asyncio.Event())
    )
    await began.wait()
    repeating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await repeating
