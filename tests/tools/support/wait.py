"""Waiting for a condition, with a deadline: the only way in which tests let time pass."""

import select
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")


class _File(Protocol):
    def fileno(self) -> int: ...


F = TypeVar("F", bound="int | _File")

_PAUSE_SECONDS = 0.02


def wait_for(condition: Callable[[], T], what: str, *, seconds: float = 30.0) -> T:
    """Return the condition's value as soon as it is true; fail after ``seconds``."""
    until = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > until:
            raise AssertionError(f"not within {seconds:g} s: {what}; last value {value!r}")
        time.sleep(_PAUSE_SECONDS)
    return value


def readable(files: Sequence[F], *, seconds: float = 0.0) -> list[F]:
    """Return those of some descriptors, sockets or files that have input, or are at their end.

    `select.select` knows no descriptor above 1023.
    """
    poll = select.poll()
    by_number = {file if isinstance(file, int) else file.fileno(): file for file in files}
    for number in by_number:
        poll.register(number, select.POLLIN)
    return [by_number[number] for number, _ in poll.poll(seconds * 1000)]
