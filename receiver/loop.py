"""Repeats a pass at its interval, with back-off after failures, until it is stopped.

This is the only place that catches every error: what a pass cannot handle is logged and counted,
and the pass is run again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from receiver import clock, metrics

_log = logging.getLogger(__name__)


async def repeat(
    name: str,
    run: Callable[[], Awaitable[object]],
    *,
    interval_seconds: float,
    retry_seconds_max: float,
    stop: asyncio.Event,
) -> None:
    """Run a pass repeatedly; return once ``stop`` is set and the pass under way has ended.

    With each failure in a row the pause doubles, up to ``retry_seconds_max``; a random part of up
    to half of it is left out, so that instances that failed together do not retry together.
    """
    failures = 0
    while not stop.is_set():
        try:
            await run()
            failures = 0
        except Exception as exc:
            failures += 1
            metrics.pass_failures.labels(name).inc()
            extra = {"pass": name, "failures": failures, "error": str(exc)}
            _log.warning("pass failed", extra=extra)
        await _pause(_seconds(failures, interval_seconds, retry_seconds_max), stop)


def _seconds(failures: int, interval_seconds: float, retry_seconds_max: float) -> float:
    if not failures:
        return interval_seconds
    return clock.backoff_seconds(failures, longest=retry_seconds_max)


async def _pause(seconds: float, stop: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
