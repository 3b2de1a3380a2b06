"""Sweeps as passes that are repeated."""

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import asdict
from typing import Any, TypeAlias, get_args

from receiver import metrics
from receiver.errors import LeaseHeld
from receiver.instance import Receiver
from receiver.reconciler import TaskOutcome, run_sweep

_log = logging.getLogger(__name__)

# Name, pass and interval in seconds of something to repeat.
Repeat: TypeAlias = Callable[
    [str, Callable[[], Awaitable[object]], float], Coroutine[Any, Any, None]
]


class Sweeper:
    """Sweeps each provider whose credentials are set, on its interval."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        # The summary of each provider's last sweep; for `/status`.
        self.last: dict[str, Any] = {}

    def start(self, repeat: Repeat) -> list["asyncio.Task[None]"]:
        """Begin to repeat the sweeps; cancelling a task ends its sweep in good order."""
        providers = self._receiver.configured
        for provider in providers:
            _show_from_the_start(provider)
        return [
            asyncio.create_task(
                repeat(
                    f"sweep-{provider}",
                    functools.partial(self._sweep, provider),
                    getattr(self._receiver.settings, f"{provider}_sweep_seconds"),
                )
            )
            for provider in providers
        ]

    async def _sweep(self, provider: str) -> None:
        receiver = self._receiver
        try:
            summary = await run_sweep(receiver.sweep(provider), receiver.sweep_run(provider))
        except LeaseHeld as exc:
            _log.debug("another instance sweeps", extra={"detail": str(exc)})
        else:
            self.last[provider] = asdict(summary)


def _show_from_the_start(provider: str) -> None:
    """Export a provider's metrics as zero: a query does not see a rise from nothing to one."""
    metrics.last_sweep_seconds.labels(provider)
    for outcome in get_args(TaskOutcome):
        metrics.swept.labels(provider, outcome)
