"""Forms, signers and forwarders made from the settings."""

import asyncio
import logging
from typing import Any

from receiver import clock, metrics
from receiver.config import Settings
from receiver.errors import LeaseHeld, SettingsError
from receiver.replay import Form, Forwarder, Sender
from receiver.replay.job import check_name
from receiver.replay.signature import Signer
from receiver.replay.target import Target
from receiver.service.reconciling import Repeat
from receiver.store import Store

_log = logging.getLogger(__name__)

NAME = "default"
# An instance that does not forward asks so often whether it may.
ASK_SECONDS = 10.0


def signer_of(settings: Settings) -> Signer | None:
    """Return what signs, if there is a secret.  Raises `SettingsError` for what is none."""
    secret = settings.replay_secret
    if secret is None:
        return None
    try:
        return Signer(secret.get_secret_value())
    except ValueError as exc:
        raise SettingsError(f"RECEIVER_REPLAY_SECRET: {exc}") from None


class Forwarding:
    """Forwards to one target, whenever this instance holds the lease.

    Raises `SettingsError` where URL, secret or name cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        url: str,
        name: str = NAME,
        since_us: int | None = None,
        rate: float | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._form = Form(url, gzip=settings.forward_gzip, marked=False)
        self._signer = signer_of(settings)
        self._name = check_name(name)
        self._since_us = since_us
        self._rate = rate
        # Ids differ from pass to pass, so that a lease that was lost is not taken for ours.
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
        settings = self._settings
        async with Target(
            connections=settings.forward_concurrency,
            timeout_seconds=settings.target_timeout_seconds,
            hidden=self._form.hidden,
        ) as target:
            forwarder = Forwarder(
                store=self._store,
                form=self._form,
                sender=Sender(
                    target,
                    signer=self._signer,
                    concurrency=settings.forward_concurrency,
                    rate=self._rate,
                    patient=True,
                ),
                name=self._name,
                owner=f"{settings.instance}/{clock.new_id()}",
                late_days=settings.forward_late_days,
                lease_seconds=settings.lease_seconds,
                since_us=self._since_us,
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
