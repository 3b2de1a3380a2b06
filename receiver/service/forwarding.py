"""Forwarding as a pass that is repeated."""

import asyncio
import logging
from typing import Any

from receiver import clock, metrics
from receiver.errors import LeaseHeld
from receiver.instance import Receiver
from receiver.replay import Forwarder, Sender
from receiver.replay.job import check_name
from receiver.service.reconciling import Repeat

_log = logging.getLogger(__name__)

DEFAULT_NAME = "default"
# How often an instance that does not forward asks whether it may.
ASK_SECONDS = 10.0


class Forwarding:
    """Forwards to `RECEIVER_FORWARD_URL` whenever this instance holds the lease.

    Raises `SettingsError` if URL, secret or name cannot be used.
    """

    def __init__(
        self,
        receiver: Receiver,
        *,
        name: str = DEFAULT_NAME,
        since_us: int | None = None,
        rate: float | None = None,
    ) -> None:
        settings = receiver.settings
        assert settings.forward_url is not None
        self._receiver = receiver
        self._form = receiver.form(
            settings.forward_url.get_secret_value(), gzip=settings.forward_gzip, marked=False
        )
        self._signer = receiver.signer
        self._name = check_name(name)
        self._since_us = since_us
        self._rate = rate
        self._forwarder: Forwarder | None = None
        self._held_by: str | None = None
        self.confirmed = self.failed = 0
        metrics.forward_lag_seconds.set_function(lambda: self.lag_seconds)
        for outcome in ("confirmed", "failed"):
            metrics.forwarded.labels(outcome)  # shown from the start, so that the first is a rise

    @property
    def lag_seconds(self) -> float:
        """Age of the oldest archived callback that this instance has yet to forward."""
        return 0.0 if self._forwarder is None else self._forwarder.lag_seconds

    def status(self) -> dict[str, Any]:
        """Return what `/status` shows; never the URL, which can hold secrets."""
        forwarder = self._forwarder
        active = forwarder is not None and forwarder.active
        return {
            "target": self._form.origin,
            "name": self._name,
            "active": active,
            "held_by": None if active else self._held_by,
            "confirmed": self.confirmed + (forwarder.confirmed if forwarder else 0),
            "failed": self.failed + (forwarder.failed if forwarder else 0),
            "lag_seconds": round(self.lag_seconds, 3),
        }

    def start(self, repeat: Repeat) -> "asyncio.Task[None]":
        """Begin to forward; cancelling the task ends it in good order."""
        return asyncio.create_task(repeat("forward", self.run, ASK_SECONDS))

    async def run(self) -> None:
        """Forward until cancelled; return at once if another instance does."""
        settings = self._receiver.settings
        async with self._receiver.target(connections=settings.forward_concurrency) as target:
            sender = Sender(
                target,
                signer=self._signer,
                concurrency=settings.forward_concurrency,
                rate=self._rate,
                patient=True,
            )
            # Each pass has an owner's id of its own, so that it does not take a lease that an
            # earlier one lost for its own.
            owner = f"{settings.instance}/{clock.new_id()}"
            forwarder = self._receiver.forwarder(
                self._form, sender, name=self._name, owner=owner, since_us=self._since_us
            )
            self._forwarder = forwarder
            try:
                await forwarder.run()
            except LeaseHeld as exc:
                self._held_by = str(exc)
                _log.debug("another instance forwards", extra={"detail": str(exc)})
            finally:
                self.confirmed += forwarder.confirmed
                self.failed += forwarder.failed
                self._forwarder = None
