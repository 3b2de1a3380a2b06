import asyncio
import threading

import pytest

from tests.tools.simulators.clock import Clock
from tests.tools.simulators.ledger import Call, Ledger
from tests.tools.simulators.limits import Limit


def test_a_frozen_clock_stands_still_until_it_is_moved() -> None:
    clock = Clock(start=1000.0, frozen=True)
    assert [1000.0, 1000.0] == [clock.time(), clock.time()]
    clock.advance(3600)
    assert clock.time() == 4600.0


def test_a_clock_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="forward only"):
        Clock().advance(-1)


def test_a_clock_that_runs_can_be_moved_as_well() -> None:
    clock = Clock(start=0.0)
    clock.advance(86_400)
    assert 86_400 <= clock.time() < 86_400 + 60


def test_a_move_wakes_what_waits_for_the_moment() -> None:
    clock = Clock(start=0.0, frozen=True)
    waiting = threading.Event()

    async def wait() -> float:
        waiting.set()
        await clock.reach(100.0)
        return clock.time()

    reached: list[float] = []
    thread = threading.Thread(target=lambda: reached.append(asyncio.run(wait())))
    thread.start()
    waiting.wait(60)
    clock.advance(99)
    clock.advance(1)
    thread.join(60)
    assert reached == [100.0]


def test_a_sliding_limit_lets_no_sixty_seconds_hold_more() -> None:
    limit = Limit()
    passed = [at for at in range(0, 600, 2) if limit.admits(float(at), calls_max=20)]
    assert all(sum(1 for one in passed if at - 60 < one <= at) <= 20 for at in range(600))
    assert passed[:21] == [*range(0, 40, 2), 60]


def test_a_calendar_limit_begins_anew_with_each_minute() -> None:
    limit = Limit()
    at_the_end = [limit.admits(59.0, calls_max=2, window="calendar") for _ in range(3)]
    at_the_start = [limit.admits(60.0, calls_max=2, window="calendar") for _ in range(3)]
    assert (at_the_end, at_the_start) == ([True, True, False], [True, True, False])


def test_the_ledger_finds_the_busiest_minute_and_the_most_open_calls() -> None:
    ledger = Ledger()
    for at in (0.0, 59.0, 59.5, 60.0, 200.0):
        ledger.answered(Call(at, "status", "GET", "/", 200, 20000))
    assert ledger.maximum_per_minute("status") == 3
    assert ledger.maximum_per_minute("status", calendar=True) == 3
    assert ledger.maximum_per_minute("id_list") == 0
    assert [ledger.opened("status"), ledger.opened("id_list")] == [1, 2]
    ledger.closed("status")
    assert (ledger.simultaneous_max(), ledger.simultaneous_max("status")) == (2, 1)
