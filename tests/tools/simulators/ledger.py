"""What a simulator was asked: every call, and the proof that no limit was ever exceeded.

A family is a group of endpoints that share a limit: ``tasks_ready``, ``id_list``, ``status``.
The times are the clock's.
"""

import threading
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Call:
    """One call as it was answered."""

    at: float
    family: str
    method: str
    path: str
    # The HTTP status; 0 where the connection was cut instead of answered.
    http_status: int
    # The provider's own code, where its answers have one: 20000, 40202, "500".
    code: int | str | None


class Ledger:
    """Counts calls; may be read from any thread while calls come."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: list[Call] = []
        self._open: Counter[str] = Counter()
        self._open_max: Counter[str] = Counter()
        self._connections_max = 0

    def calls(self, family: str | None = None) -> list[Call]:
        """Return the calls of a family, or all, in the order in which they were answered."""
        with self._lock:
            return [call for call in self._calls if family in (None, call.family)]

    def count(self, family: str | None = None, *, code: int | str | None = None) -> int:
        """Return how many calls there were, of a family, and answered with a code, if given."""
        return sum(1 for call in self.calls(family) if code in (None, call.code))

    def count_http(self, http_status: int, family: str | None = None) -> int:
        """Return how many calls were answered with an HTTP status."""
        return sum(1 for call in self.calls(family) if call.http_status == http_status)

    def maximum_per_minute(
        self, family: str | None = None, *, path: str | None = None, calendar: bool = False
    ) -> int:
        """Return the most calls in any 60 seconds, or in any minute of the clock face."""
        return self.maximum_within(60.0, family, path=path, calendar=calendar)

    def maximum_within(
        self,
        seconds: float,
        family: str | None = None,
        *,
        path: str | None = None,
        calendar: bool = False,
    ) -> int:
        """Return the most calls in any window of so many seconds."""
        times = sorted(call.at for call in self.calls(family) if path in (None, call.path))
        if calendar:
            return max(Counter(int(at // seconds) for at in times).values(), default=0)
        return max(
            (bisect_right(times, at) - bisect_right(times, at - seconds) for at in times), default=0
        )

    def simultaneous_max(self, family: str | None = None) -> int:
        """Return the most calls that were ever seen open at the same time.

        A simulator that answers at once hardly ever sees two: give it a `latency_seconds`, or
        look at `connections_max`.
        """
        with self._lock:
            return self._open_max[family or ""]

    def connections_max(self) -> int:
        """Return the most connections that were ever open at the same time.

        A connection carries one call at a time, so this is an upper bound of the calls that were
        made at the same time, whether the simulator had got round to them or not.
        """
        with self._lock:
            return self._connections_max

    def clear(self) -> None:
        """Forget the calls that were answered."""
        with self._lock:
            self._calls.clear()
            self._open_max.clear()
            self._connections_max = 0

    def opened(self, family: str, *, connections: int = 1) -> int:
        """Note that a call came in; return how many are open with it."""
        with self._lock:
            self._connections_max = max(self._connections_max, connections)
            for name in ("", family):
                self._open[name] += 1
                self._open_max[name] = max(self._open_max[name], self._open[name])
            return self._open[""]

    def closed(self, family: str) -> None:
        """Note that a call has left."""
        with self._lock:
            for name in ("", family):
                self._open[name] -= 1

    def answered(self, call: Call) -> None:
        """Note a call and what it was answered with."""
        with self._lock:
            self._calls.append(call)
