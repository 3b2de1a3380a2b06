"""A limit of calls in a window of time."""

from collections import deque
from typing import Literal

# Any 60 seconds is the stricter reading of "per minute"; which one a provider uses is unknown.
Window = Literal["sliding", "calendar"]


class Limit:
    """Lets so many calls through in a window; refused calls do not count."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def admits(
        self, at: float, *, calls_max: int | None, seconds: float = 60.0, window: Window = "sliding"
    ) -> bool:
        """Say whether a call may pass, and count it if so.  No maximum lets all pass."""
        start = at - seconds if window == "sliding" else at // seconds * seconds
        while self._times and (
            self._times[0] <= start if window == "sliding" else self._times[0] < start
        ):
            self._times.popleft()
        if calls_max is not None and len(self._times) >= calls_max:
            return False
        self._times.append(at)
        return True

    def remaining(self, calls_max: int) -> int:
        """Return how many more calls the window has room for."""
        return max(0, calls_max - len(self._times))
