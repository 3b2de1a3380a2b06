"""Everything that is built from the settings, on demand and once."""

import hashlib
import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from receiver import disk
from receiver.config import Settings
from receiver.errors import SettingsError
from receiver.instance.apis import APIS
from receiver.instance.secrets import check_aws, secrets_in
from receiver.instance.tokens import SPOOL_HINT, is_loopback, kept_token, token_if_kept
from receiver.masking import Masker, url_secrets
from receiver.providers import PROVIDERS
from receiver.store import Store, open_store

if TYPE_CHECKING:
    from receiver.catalog import Catalog
    from receiver.reconciler import Sweep, SweepRun
    from receiver.reconciler.caller import Caller
    from receiver.reconciler.sink import Sink
    from receiver.reconciler.sweep_run import SweepProgress
    from receiver.replay import Form, Forwarder, Sender
    from receiver.replay.signature import Signer
    from receiver.replay.target import Target
    from receiver.shipper import Shipper

# Attempts at a call while a person waits for its answer.
_ATTEMPTS_WHILE_WATCHED = 3


class Receiver:
    """One receiver, as its settings describe it.

    Properties are built once and shared.  Methods build a new part at each call, but for `sweep`.
    What cannot be built raises `SettingsError`.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._sweeps: dict[str, Sweep] = {}

    # Secrets.

    @cached_property
    def masker(self) -> Masker:
        """Takes every secret of this receiver out of text."""
        masker = Masker(secrets_in(self.settings, os.environ))
        if not self.settings.tokens:
            kept = token_if_kept(self.made_token)
            masker.add([kept] if kept else [])
        return masker

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """The tokens in force.

        On loopback, where none are set, one is made and kept beside the spool, so that the URLs
        stay the same from run to run.  Anywhere else raises `SettingsError`.
        """
        settings = self.settings
        if settings.tokens:
            return tuple(token.get_secret_value() for token in settings.tokens)
        if not is_loopback(settings.host):
            raise SettingsError(
                "RECEIVER_TOKENS must be set where strangers can call",
                hint="`receiver urls --new-token` prints one",
            )
        token = kept_token(self.spool_root / self.made_token.name)
        self.masker.add([token])
        return (token,)

    @property
    def made_token(self) -> Path:
        """The file of the token that is made where none are set; it need not exist."""
        return self.settings.spool / "token"

    def urls(self, base: str | None = None) -> list[dict[str, str]]:
        """Return each URL to register: provider, kind, parameter that takes it, method, URL."""
        settings = self.settings
        base = base or settings.public_url or f"http://{settings.host}:{settings.port}"
        return [
            {
                "provider": provider.name,
                "kind": entrance.kind,
                "parameter": entrance.parameter,
                "method": entrance.method,
                "url": f"{base.rstrip('/')}/{provider.name}/{entrance.kind}/"
                f"{self.tokens[0]}{entrance.query}",
            }
            for provider in PROVIDERS.values()
            for entrance in provider.entrances
        ]

    def own_urls(self, provider: str) -> list[str]:
        """Return the parts, path and token, by which a URL is recognized as this receiver's."""
        return [
            f"/{provider}/{entrance.kind}/{token}"
            for entrance in PROVIDERS[provider].entrances
            for token in self.tokens
        ]

    # Spool and archive.

    @property
    def spool_root(self) -> Path:
        """The spool's directory, made durably if it is missing."""
        spool = self.settings.spool
        try:
            disk.make_directory(spool, mode=disk.PRIVATE_DIRECTORY)
        except OSError as exc:
            detail = f"RECEIVER_SPOOL: cannot make {spool}: {exc.strerror}"
            raise SettingsError(detail, hint=SPOOL_HINT) from exc
        return spool

    @cached_property
    def store(self) -> Store:
        """The archive's store."""
        settings = self.settings
        if settings.archive.lower().startswith("s3:"):
            check_aws(os.environ)
        return open_store(
            settings.archive,
            timeout_seconds=settings.s3_timeout_seconds,
            kms_key_id=settings.s3_kms_key_id,
            storage_class=settings.s3_storage_class,
            bucket_owner=settings.s3_bucket_owner,
            leases=settings.leases == "on",
        )

    @cached_property
    def catalog(self) -> "Catalog":
        """The catalog of the archive; each archive has a file of its own."""
        return self._open_catalog()

    def _open_catalog(self) -> "Catalog":
        from receiver.catalog import Catalog

        name = hashlib.sha256(self.store.identity.encode()).hexdigest()[:16]
        return Catalog(self.settings.catalog / f"{name}.sqlite", self.store)

    @cached_property
    def shipper(self) -> "Shipper":
        """The shipper from any spool to the archive."""
        from receiver.archive import COMPRESSIONS
        from receiver.shipper import Shipper

        return Shipper(
            store=self.store,
            providers=PROVIDERS,
            compression=COMPRESSIONS[self.settings.compression],
            inflated_bytes_max=int(self.settings.inflated_bytes_max),
            concurrency=self.settings.ship_concurrency,
            quiet=self.settings.ack == "archive",
        )

    # Providers.

    @property
    def configured(self) -> list[str]:
        """The providers whose API credentials are set."""
        return [name for name, api in APIS.items() if api.credentials(self.settings) is not None]

    def caller(self, provider: str, *, watched: bool = True) -> "Caller":
        """Return a caller of a provider's API, which retries longer if nobody is watching."""
        from receiver.reconciler.caller import ATTEMPTS_MAX, Caller

        api = APIS[provider]
        credentials = api.credentials(self.settings)
        if credentials is None:
            raise SettingsError(f"{provider}: set {api.needs}")
        return Caller(
            provider=provider,
            base_url=getattr(self.settings, f"{provider}_url"),
            policy=api.policy,
            credentials=api.needs,
            headers=credentials.headers,
            secret_query=credentials.query,
            timeout_seconds=self.settings.api_timeout_seconds,
            body_bytes_max=int(self.settings.result_bytes_max),
            inflated_bytes_max=int(self.settings.inflated_bytes_max),
            attempts_max=_ATTEMPTS_WHILE_WATCHED if watched else ATTEMPTS_MAX,
        )

    def sweep(self, provider: str) -> "Sweep":
        """Return a provider's sweep, the same at each call: it remembers what it did."""
        if provider not in self._sweeps:
            self._sweeps[provider] = self._new_sweep(provider)
        return self._sweeps[provider]

    def _new_sweep(self, provider: str) -> "Sweep":
        from receiver.reconciler import DataForSeoSweep, DiffbotSweep, OutscraperSweep

        settings, ours = self.settings, self.own_urls(provider)
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

    def sweep_run(
        self, provider: str, *, dry_run: bool = False, progress: "SweepProgress | None" = None
    ) -> "SweepRun":
        """Return one run of a provider's sweep, with a catalog of its own.

        Runs of several providers sync their catalogs at the same time, and one that cannot use
        the file must not keep the next one from it.
        """
        from receiver.reconciler import SweepRun

        more = {} if progress is None else {"progress": progress}
        return SweepRun(
            provider=provider,
            instance=self.settings.instance,
            store=self.store,
            catalog=self._open_catalog(),
            caller=self.caller(provider, watched=False),
            sink=self.sink(),
            spool_root=self.spool_root,
            lease_seconds=self.settings.lease_seconds,
            tasks_max=self.settings.sweep_tasks_max,
            dry_run=dry_run,
            hide=self.masker.text,
            **more,
        )

    def sink(self) -> "Sink":
        """Return a way into the spool for results that were fetched."""
        from receiver.reconciler.sink import Sink

        return Sink(
            self.spool_root,
            instance=self.settings.instance,
            batch_bytes=int(self.settings.batch_bytes),
            batch_seconds=self.settings.batch_seconds,
            spool_bytes_max=int(self.settings.spool_bytes_max),
            disk_reserve_bytes=int(self.settings.disk_reserve_bytes),
        )

    # Targets of replays and forwards.

    @property
    def signer(self) -> "Signer | None":
        """The signer of replays and forwards, if there is a secret to sign with."""
        from receiver.replay.signature import Signer

        secret = self.settings.replay_secret
        if secret is None:
            return None
        try:
            return Signer(secret.get_secret_value())
        except ValueError as exc:
            raise SettingsError(f"RECEIVER_REPLAY_SECRET: {exc}") from None

    def form(self, url: str, *, gzip: bool = False, marked: bool = True) -> "Form":
        """Return the form of requests to this URL, whose secret parts are masked from now on."""
        from receiver.replay import Form

        self.masker.add(url_secrets(url))
        limit = int(self.settings.sent_bytes_max)
        return Form(url, gzip=gzip, marked=marked, sent_bytes_max=limit)

    def target(self, *, connections: int) -> "Target":
        """Return the target that requests are sent to."""
        from receiver.replay.target import Target

        return Target(
            connections=connections,
            timeout_seconds=self.settings.target_timeout_seconds,
            hide=self.masker.text,
        )

    def forwarder(
        self, form: "Form", sender: "Sender", *, name: str, owner: str, since_us: int | None
    ) -> "Forwarder":
        """Return what forwards new callbacks of the archive while it holds the lease of a name."""
        from receiver.replay import Forwarder

        return Forwarder(
            store=self.store,
            form=form,
            sender=sender,
            name=name,
            owner=owner,
            late_days=self.settings.forward_late_days,
            lease_seconds=self.settings.lease_seconds,
            since_us=since_us,
        )
