"""Callers and sweeps made from the settings."""

import asyncio
import functools
import hashlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import asdict
from typing import Any, TypeAlias, get_args

from receiver import metrics
from receiver.catalog import Catalog
from receiver.config import Settings
from receiver.errors import LeaseHeld, ProviderError, ProviderRefused, SettingsError
from receiver.providers import PROVIDERS
from receiver.reconciler import (
    DataForSeoSweep,
    DiffbotSweep,
    OutscraperSweep,
    Sweep,
    SweepRun,
    TaskOutcome,
    run_sweep,
)
from receiver.reconciler.caller import ATTEMPTS_MAX, Caller
from receiver.reconciler.sink import Sink
from receiver.reconciler.sweep_run import SweepProgress
from receiver.service.apis import APIS
from receiver.service.parts import hiding, spool_root, tokens_of
from receiver.store import Check, Store

_log = logging.getLogger(__name__)

# Name, pass and interval in seconds of something to repeat.
Repeat: TypeAlias = Callable[
    [str, Callable[[], Awaitable[object]], float], Coroutine[Any, Any, None]
]


def configured(settings: Settings) -> list[str]:
    """Return the providers whose API credentials are set."""
    return [provider for provider, api in APIS.items() if api.credentials(settings) is not None]


# Somebody waits for the answer of an operation.
ATTEMPTS_WHILE_WATCHED = 3


def caller_of(settings: Settings, provider: str, *, watched: bool = True) -> Caller:
    """Return the caller of a provider's API, more patient if nobody watches.

    Raises `SettingsError` without credentials.
    """
    api = APIS[provider]
    credentials = api.credentials(settings)
    if credentials is None:
        raise SettingsError(f"{provider}: set {api.needs}")
    return Caller(
        provider=provider,
        base_url=getattr(settings, f"{provider}_url"),
        policy=api.policy,
        credentials=api.needs,
        headers=credentials.headers,
        secret_query=credentials.query,
        timeout_seconds=settings.api_timeout_seconds,
        body_bytes_max=int(settings.result_bytes_max),
        inflated_bytes_max=int(settings.inflated_bytes_max),
        attempts_max=ATTEMPTS_WHILE_WATCHED if watched else ATTEMPTS_MAX,
    )


def sweep_of(settings: Settings, provider: str) -> Sweep:
    """Return a provider's sweep; it remembers what it did, so keep it from pass to pass."""
    ours = own_urls(settings, provider)
    if provider == "diffbot":
        return DiffbotSweep(own_urls=ours, grace_seconds=settings.sweep_grace_seconds)
    if provider == "outscraper":
        return OutscraperSweep(grace_seconds=settings.sweep_grace_seconds)
    return DataForSeoSweep(
        families=getattr(settings, f"{provider}_families"),
        tags=getattr(settings, f"{provider}_tags"),
        own_urls=ours,
        grace_seconds=settings.sweep_grace_seconds,
    )


def sweep_run_of(
    settings: Settings,
    provider: str,
    store: Store,
    *,
    dry_run: bool = False,
    progress: SweepProgress | None = None,
) -> SweepRun:
    """Return one run of a provider's sweep."""
    root = spool_root(settings)
    more = {} if progress is None else {"progress": progress}
    return SweepRun(
        provider=provider,
        instance=settings.instance,
        store=store,
        catalog=catalog_of(settings, store),
        caller=caller_of(settings, provider, watched=False),
        sink=Sink(
            root,
            instance=settings.instance,
            batch_bytes=int(settings.batch_bytes),
            batch_seconds=settings.batch_seconds,
            spool_bytes_max=int(settings.spool_bytes_max),
            disk_reserve_bytes=int(settings.disk_reserve_bytes),
        ),
        spool_root=root,
        lease_seconds=settings.lease_seconds,
        tasks_max=settings.sweep_tasks_max,
        dry_run=dry_run,
        hide=hiding(settings),
        **more,
    )


def catalog_of(settings: Settings, store: Store) -> Catalog:
    """Return the catalog of an archive; each archive has a file of its own."""
    name = hashlib.sha256(store.identity.encode()).hexdigest()[:16]
    return Catalog(settings.catalog / f"{name}.sqlite", store)


def checks(settings: Settings) -> Iterator[Check]:
    """Try the credentials of each provider that has some."""
    for provider in configured(settings):
        try:
            asyncio.run(_try(settings, provider))
        except ProviderRefused as exc:
            yield Check(f"{provider} API", False, exc.detail, exc.hint, refused=True)
        except ProviderError as exc:
            hint = f"see whether RECEIVER_{provider.upper()}_URL is right and can be reached"
            yield Check(f"{provider} API", False, str(exc), hint)
        else:
            yield Check(f"{provider} API", True, "answers, and takes the credentials")


async def _try(settings: Settings, provider: str) -> None:
    """Make the call that costs a provider least."""
    async with caller_of(settings, provider) as caller:
        await caller.hold(APIS[provider].probe())


class Sweeper:
    """Sweeps each provider whose credentials are set, on its interval."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self.last: dict[str, Any] = {}

    def start(self, repeat: Repeat) -> list["asyncio.Task[None]"]:
        """Begin to repeat the sweeps; cancelling a task ends its sweep in good order."""
        for provider in configured(self._settings):
            _begin_counting(provider)
        return [
            asyncio.create_task(
                repeat(
                    f"sweep-{provider}",
                    functools.partial(self._sweep, provider, sweep_of(self._settings, provider)),
                    getattr(self._settings, f"{provider}_sweep_seconds"),
                )
            )
            for provider in configured(self._settings)
        ]

    async def _sweep(self, provider: str, sweep: Sweep) -> None:
        try:
            run = sweep_run_of(self._settings, provider, self._store)
            summary = await run_sweep(sweep, run)
        except LeaseHeld as exc:
            _log.debug("another instance sweeps", extra={"detail": str(exc)})
        else:
            self.last[provider] = asdict(summary)


def _begin_counting(provider: str) -> None:
    """Show a provider's figures from the start: a rise from nothing to one is not seen as one."""
    metrics.last_sweep_seconds.labels(provider)
    for outcome in get_args(TaskOutcome):
        metrics.swept.labels(provider, outcome)


def own_urls(settings: Settings, provider: str) -> list[str]:
    """Return the pieces by which a registered URL is known to be ours: path and token."""
    return [
        f"/{provider}/{entrance.kind}/{token}"
        for entrance in PROVIDERS[provider].entrances
        for token in tokens_of(settings)
    ]
