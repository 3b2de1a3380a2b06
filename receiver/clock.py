"""Time and the ids made of it.

Times are whole microseconds since 1970, UTC.  Ids are UUIDv7 (RFC 9562 §5.7): they sort by the
time at which they were made and contain it, so a key can be computed from an id alone.
"""

import functools
import os
import random
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime

# The pattern of an id, as `new_id` writes it.
ID = "[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_ID = re.compile(ID)

# Enough for ids that must differ between processes and machines, not for ids that must be hard to
# guess.
_noise = random.Random(os.urandom(32)).getrandbits  # noqa: S311


def now_us() -> int:
    """Return the wall clock in microseconds since 1970."""
    return time.time_ns() // 1000


def new_id(at_us: int | None = None, *, noise: Callable[[int], int] = _noise) -> str:
    """Return a new UUIDv7 for a moment, now by default.

    The twelve bits after the milliseconds hold the fraction of the millisecond (RFC 9562 §6.2,
    method 3), so ids of one process sort to about a quarter of a microsecond.  ``noise`` returns
    random bits; an id that must be hard to guess needs a better source than the default.
    """
    if at_us is None:
        at_us = now_us()
    milliseconds, microseconds = divmod(at_us, 1000)
    fraction = microseconds * 4096 // 1000
    text = f"{(milliseconds << 80) | (7 << 76) | (fraction << 64) | (2 << 62) | noise(62):032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def is_id(text: str) -> bool:
    """Return whether a text is an id as `new_id` writes it."""
    return _ID.fullmatch(text) is not None


def backoff_seconds(failures: int, *, first: float = 0.5, longest: float) -> float:
    """Return the pause after ``failures`` failures in a row.

    It is ``first`` doubled for each failure, at most ``longest``, less a random half, so that
    clients that failed together do not come back together.
    """
    return min(longest, first * 2.0 ** min(failures, 30)) * random.uniform(0.5, 1)  # noqa: S311


def id_time_us(identifier: str) -> int:
    """Return the moment a UUIDv7 was made, to the millisecond."""
    return int(identifier[:8] + identifier[9:13], 16) * 1000


def rfc3339(at_us: int) -> str:
    """Return a moment as RFC 3339 text in UTC with microseconds."""
    seconds, microseconds = divmod(at_us, 1_000_000)
    return f"{_second(seconds)}.{microseconds:06d}Z"


def read_rfc3339(text: str) -> int:
    """Return the moment of a text that `rfc3339` wrote.  Raises `ValueError`."""
    moment = datetime.fromisoformat(text)
    return _seconds_of(text[:19]) * 1_000_000 + moment.microsecond


@functools.lru_cache(maxsize=64)
def _seconds_of(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


# Thousands of callbacks share a second.
@functools.lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
