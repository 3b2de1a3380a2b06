"""Mapping ahead, with a bound: what `Executor.map` does itself from Python 3.14 on."""

import collections
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def map_ahead(
    pool: Executor, work: Callable[[T], R], items: Iterable[T], *, ahead: int
) -> Generator[R]:
    """Yield the results in the order of the items; at most ``ahead`` are begun before asked for.

    Raises what ``work`` raises, in its place.
    """
    waiting: collections.deque[Future[R]] = collections.deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
