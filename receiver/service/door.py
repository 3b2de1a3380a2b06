"""The door and its spool, built from the settings: for `server`, and for `receiver.asgi`."""

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.types import Lifespan

from receiver import __version__
from receiver.door import Answered, Guard, Intake, Judge, Log, create_app
from receiver.instance import Receiver
from receiver.providers import PROVIDERS
from receiver.spool import Spool


def open_spool(
    receiver: Receiver,
    *,
    batch_seconds: float | None = None,
    sealed: Callable[[str], None] | None = None,
) -> Spool:
    """Return a spool with a fresh directory; must be called in a running event loop.

    ``batch_seconds`` replaces the setting; for ``sealed`` see `Spool`.  Raises
    `SettingsError` if the spool's root cannot be made.
    """
    settings = receiver.settings
    return Spool(
        receiver.spool_root,
        batch_bytes=int(settings.batch_bytes),
        batch_seconds=settings.batch_seconds if batch_seconds is None else batch_seconds,
        spool_bytes_max=int(settings.spool_bytes_max),
        disk_reserve_bytes=int(settings.disk_reserve_bytes),
        unsettled_bytes_max=int(settings.inflight_bytes_max),
        sealed=sealed,
    )


def make_judge(
    receiver: Receiver, log: Log, *, answered: Callable[[Answered], None] | None = None
) -> Judge:
    """Return the judge of one server process.  Raises `SettingsError` if tokens are missing."""
    settings = receiver.settings
    return Judge(
        providers=PROVIDERS,
        log=log,
        guard=Guard(
            tokens=[token.encode() for token in receiver.tokens],
            signature=settings.outscraper_signature,
            signature_keys=[
                key.get_secret_value().encode() for key in settings.outscraper_api_keys
            ],
            sources=settings.dataforseo_sources,
            sources_mode=settings.dataforseo_sources_mode,
        ),
        intake=Intake(
            body_bytes_max=int(settings.body_bytes_max),
            body_seconds_max=settings.body_seconds_max,
            inflight_bytes_max=int(settings.inflight_bytes_max),
        ),
        instance=settings.instance,
        answered=answered,
    )


def make_app(
    receiver: Receiver,
    judge: Judge,
    *,
    unready: Callable[[], str | None],
    lifespan: Lifespan[Starlette] | None = None,
) -> Starlette:
    """Return the application; see `receiver.door.create_app`."""
    return create_app(
        judge,
        unready=unready,
        version=__version__,
        trusted_proxies=receiver.settings.forwarded_allow_ips,
        lifespan=lifespan,
    )
