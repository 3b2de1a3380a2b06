"""Rate limit for log lines that strangers can cause."""

import logging
import time


class Sparing:
    """Logs at most ``per_second`` lines a second for each reason; the metrics count them all.

    The next line of a reason says in ``left_out`` how many were not logged.
    """

    def __init__(self, logger: logging.Logger, *, per_second: int = 5) -> None:
        self._logger = logger
        self._per_second = per_second
        self._second = 0
        self._logged: dict[str, int] = {}
        self._left_out: dict[str, int] = {}

    def warning(self, message: str, *, reason: str, extra: dict[str, object]) -> None:
        """Log a warning, or count it as left out."""
        second = int(time.monotonic())
        if second != self._second:
            self._second = second
            self._logged.clear()
        logged = self._logged.get(reason, 0)
        if logged >= self._per_second:
            self._left_out[reason] = self._left_out.get(reason, 0) + 1
            return
        self._logged[reason] = logged + 1
        left_out = self._left_out.pop(reason, 0)
        more = {"left_out": left_out} if left_out else {}
        self._logger.warning(message, extra={"reason": reason, **extra, **more})
