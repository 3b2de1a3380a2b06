"""A pass is repeated, backs off after failures, and stops on request."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from receiver import clock, metrics
from receiver.errors import StoreError, StoreRefused
from receiver.service import loop

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
    await loop.Passes().repeat(
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


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, int, str | None]]:
    """Return level, message, count and error of each line."""
    return [
        (each.levelname, each.message, each.__dict__["failures"], each.__dict__.get("error"))
        for each in caplog.records
    ]


async def test_failures_are_counted_and_their_beginning_and_end_logged(
    pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "receiver.service.loop")
    before = metrics.pass_failures.labels("test")._value.get()
    await repeat(Passes(6, failing={2, 3, 4}))
    assert before + 3 == metrics.pass_failures.labels("test")._value.get()
    assert logged(caplog) == [
        ("WARNING", "pass failed", 1, "no luck"),
        ("DEBUG", "pass failed", 2, "no luck"),
        ("DEBUG", "pass failed", 3, "no luck"),
        ("INFO", "pass works again", 3, None),
    ]
    assert 0 <= caplog.records[-1].__dict__["seconds"] < 60


async def test_another_kind_of_error_is_logged_once_too(
    pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "receiver.service.loop")
    errors = [
        StoreError("one"),
        StoreRefused("two", hint="renew"),
        StoreError("three"),
        StoreRefused("four", hint="renew"),
        StoreRefused("five", hint="allow"),
    ]
    stop = asyncio.Event()

    async def run() -> None:
        if errors:
            raise errors.pop(0)
        stop.set()

    await loop.Passes().repeat("test", run, interval_seconds=1, retry_seconds_max=1, stop=stop)
    assert ["one", "two; renew", "five; allow", None] == [error for *_, error in logged(caplog)]


async def test_a_long_outage_is_repeated_in_the_log(
    pauses: list[float], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    stop = asyncio.Event()
    failures = itertools.count(1)

    async def run() -> None:
        nonlocal now
        now += 100
        if next(failures) == 10:
            stop.set()
        raise StoreError("no luck")

    await loop.Passes().repeat("test", run, interval_seconds=1, retry_seconds_max=1, stop=stop)
    assert [("pass failed", 1), *(("pass still fails", count) for count in (4, 7, 10))] == [
        (message, count) for _, message, count, _ in logged(caplog)
    ]
    assert 900 == caplog.records[-1].__dict__["seconds"]


async def test_it_is_known_what_fails_and_when_it_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clock, "backoff_seconds", lambda failures, longest: longest)
    passes, stop, under_way = loop.Passes(), asyncio.Event(), asyncio.Event()
    runs = itertools.count(1)
    seen: list[dict[str, Any]] = []

    async def run() -> None:
        seen.append(passes.failing())
        if next(runs) == 3:
            stop.set()
            return
        under_way.set()
        raise StoreError("no luck", hint="wait")

    began = clock.now_us()
    repeating = asyncio.create_task(
        passes.repeat("ship", run, interval_seconds=3600, retry_seconds_max=3600, stop=stop)
    )
    await under_way.wait()
    await until(lambda: bool(passes.failing()))
    failing = passes.failing()["ship"]
    assert ("no luck; wait", 1) == (failing["error"], failing["failures"])
    assert clock.rfc3339(began) <= failing["since"] < failing["next_try_at"]
    async with asyncio.timeout(20):
        while not stop.is_set():  # a retry counts only during a pause
            passes.retry()
            await asyncio.sleep(0)
        await repeating
    assert {} == seen[0] == passes.failing()
    assert [1, 2] == [each["ship"]["failures"] for each in seen[1:]]
    assert {None} == {each["ship"]["next_try_at"] for each in seen[1:]}


async def test_a_retry_does_not_hurry_what_works() -> None:
    passes, stop, ran = loop.Passes(), asyncio.Event(), asyncio.Event()
    runs = itertools.count(1)

    async def run() -> None:
        next(runs)
        ran.set()

    repeating = asyncio.create_task(
        passes.repeat("sweep", run, interval_seconds=3600, retry_seconds_max=1, stop=stop)
    )
    await ran.wait()
    for _ in range(5):
        passes.retry()
        await asyncio.sleep(0)
    stop.set()
    await repeating
    assert 2 == next(runs)


async def until(condition: Callable[[], object]) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 # no event announces it
            await asyncio.sleep(0)


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
        loop.Passes().repeat("test", run, interval_seconds=3600, retry_seconds_max=1, stop=stop)
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
        loop.Passes().repeat("test", run, interval_seconds=0, retry_seconds_max=1, stop=stop)
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
        loop.Passes().repeat(
            "t", pass_, interval_seconds=0, retry_seconds_max=1, stop=asyncio.Event()
        )
    )
    await began.wait()
    repeating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await repeating
