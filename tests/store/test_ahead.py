"""Mapping ahead: in order, bounded, and failures come where their item stands."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from receiver.store.ahead import map_ahead
from tests.tools.support.wait import wait_for


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 50])
def test_results_come_in_the_order_of_the_items(count: int) -> None:
    first_may_go = threading.Event()

    def work(item: int) -> int:
        # The first is done last of all that are begun with it.
        if item == 0 and count > 1:
            assert first_may_go.wait(30)
        elif item == 1:
            first_may_go.set()
        return item * 10

    with ThreadPoolExecutor(2) as pool:
        mapped = list(map_ahead(pool, work, range(count), ahead=4))
    assert [item * 10 for item in range(count)] == mapped


def test_no_more_than_so_many_are_begun_before_they_are_asked_for() -> None:
    begun: list[int] = []
    with ThreadPoolExecutor(8) as pool:
        results = map_ahead(pool, begun.append, iter(range(100)), ahead=5)
        assert [] == begun
        for asked in range(1, 4):
            next(results)
            wait_for(lambda: len(begun) == 4 + asked, "what may be ahead is begun")  # noqa: B023
        results.close()
    assert 7 == len(begun)


def test_a_failure_comes_in_the_place_of_its_item() -> None:
    with ThreadPoolExecutor(2) as pool:
        results = map_ahead(pool, lambda item: 6 // item, [3, 0, 2], ahead=3)
        assert 2 == next(results)
        with pytest.raises(ZeroDivisionError):
            next(results)
