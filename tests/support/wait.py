"""Waiting for a condition, with a deadline: the only way in which tests let time pass."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE_SECONDS = 0.02


def wait_for(condition: Callable[[], T], what: str, *, seconds: float = 30.0) -> T:
    """Return the condition's value as soon as it is true; fail after ``seconds``."""
    until = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > until:
            raise AssertionError(f"not within {seconds:g} s: {what}; last value {value!r}")
        time.sleep(_PAUSE_SECONDS)
    return value
