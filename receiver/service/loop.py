"""Repeats passes at their intervals, with back-off after failures, until they are stopped.

This is the only place that catches every error: what a pass cannot handle is logged and counted,
and the pass is run again.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from receiver import clock, metrics
from receiver.errors import ReceiverError

_log = logging.getLogger(__name__)

# How often the log repeats that a pass still fails, for those who alert on the log alone.
REMIND_SECONDS = 300.0


@dataclass(slots=True)
class _Outage:
    """Failures of a pass in a row."""

    since_us: int
    began: float
    failures: int = 0
    error: str = ""
    # When the next try is due; None while a try is under way.
    next_try_us: int | None = None
    logged_at: float = 0.0
    # The kinds of error that were logged.
    logged: set[tuple[type[Exception], str]] = field(default_factory=set)

    @property
    def seconds(self) -> float:
        """Its length so far."""
        return round(time.monotonic() - self.began, 3)


class Passes:
    """The passes that a process repeats, and which of them fail.  For its event loop."""

    def __init__(self) -> None:
        self._outages: dict[str, _Outage] = {}
        self._retry = asyncio.Event()

    async def repeat(
        self,
        name: str,
        run: Callable[[], Awaitable[object]],
        *,
        interval_seconds: float,
        retry_seconds_max: float,
        stop: asyncio.Event,
    ) -> None:
        """Run a pass repeatedly; return once ``stop`` is set and the pass under way has ended.

        With each failure in a row the pause doubles, up to ``retry_seconds_max``; a random part of
        up to half of it is left out, so that instances that failed together do not retry together.

        The log has one line when failures begin, one for each other kind of error among them, a
        reminder every `REMIND_SECONDS`, and one line when the pass works again.
        """
        while not stop.is_set():
            try:
                await run()
            except Exception as exc:
                outage = self._failed(name, exc)
                seconds = clock.backoff_seconds(outage.failures, longest=retry_seconds_max)
                outage.next_try_us = clock.now_us() + int(seconds * 1e6)
                await _pause(seconds, stop, self._retry)
                outage.next_try_us = None
            else:
                self._worked(name)
                await _pause(interval_seconds, stop)

    def retry(self) -> None:
        """Run the passes that wait after a failure at once."""
        self._retry.set()
        self._retry.clear()

    def failing(self) -> dict[str, Any]:
        """Return which passes fail, for `/status`: since when, why, and when the next try is due.

        A try that is under way has no such time.
        """
        return {
            name: {
                "since": clock.rfc3339(outage.since_us),
                "failures": outage.failures,
                "error": outage.error,
                "next_try_at": outage.next_try_us and clock.rfc3339(outage.next_try_us),
            }
            for name, outage in self._outages.items()
        }

    def _failed(self, name: str, exc: Exception) -> _Outage:
        if name not in self._outages:
            self._outages[name] = _Outage(clock.now_us(), time.monotonic())
        outage = self._outages[name]
        outage.failures += 1
        outage.error = str(exc)
        metrics.pass_failures.labels(name).inc()
        extra = {"pass": name, "failures": outage.failures, "error": outage.error}
        kind = type(exc), exc.hint if isinstance(exc, ReceiverError) else ""
        if kind not in outage.logged:
            level, message = logging.WARNING, "pass failed"
        elif time.monotonic() - outage.logged_at >= REMIND_SECONDS:
            level, message = logging.WARNING, "pass still fails"
            extra["seconds"] = outage.seconds
        else:
            level, message = logging.DEBUG, "pass failed"
        _log.log(level, message, extra=extra)
        if level == logging.WARNING:
            outage.logged.add(kind)
            outage.logged_at = time.monotonic()
        return outage

    def _worked(self, name: str) -> None:
        outage = self._outages.pop(name, None)
        if outage is not None:
            extra = {"pass": name, "failures": outage.failures, "seconds": outage.seconds}
            _log.info("pass works again", extra=extra)


async def _pause(seconds: float, *events: asyncio.Event) -> None:
    """Wait for a time, or until one of the events is set."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        async with asyncio.timeout(seconds):
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    except TimeoutError:
        return
    finally:
        for task in waiting:
            task.cancel()
