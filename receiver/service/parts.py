"""Parts made from the settings."""

import contextlib
import ipaddress
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path

from receiver import disk
from receiver.archive import COMPRESSIONS
from receiver.config import Settings
from receiver.errors import SettingsError
from receiver.providers import PROVIDERS
from receiver.shipper import Shipper
from receiver.store import Store, open_store

_SPOOL_HINT = "name a directory on a local disk that this user can write"


def new_token() -> str:
    """Return a token of 192 random bits."""
    return secrets.token_hex(24)


def tokens_of(settings: Settings) -> list[str]:
    """Return the tokens in force.

    On loopback, where none are set, one is made and kept beside the spool, so that the URLs stay
    the same from run to run.  Anywhere else raises `SettingsError`.
    """
    if settings.tokens:
        return [token.get_secret_value() for token in settings.tokens]
    if not is_loopback(settings.host):
        raise SettingsError(
            "RECEIVER_TOKENS must be set where strangers can call",
            hint="`receiver urls --new-token` prints one",
        )
    spool_root(settings)
    path = made_token(settings)
    try:
        if not path.exists():
            _make_token(path)
        return [path.read_text().strip()]
    except OSError as exc:
        detail = f"RECEIVER_SPOOL: cannot use {path}: {exc.strerror}"
        raise SettingsError(detail, hint=_SPOOL_HINT) from exc


def _make_token(path: Path) -> None:
    mine = path.with_name(f".token-{os.getpid()}")
    disk.write_durably(mine, new_token().encode())
    with contextlib.suppress(FileExistsError):  # another command was faster
        path.hardlink_to(mine)
    mine.unlink()


def made_token(settings: Settings) -> Path:
    """Return the file of the token that is made where none are set."""
    return settings.spool / "token"


def hiding(settings: Settings) -> Callable[[str], str]:
    """Return what takes the secrets in force out of a text, for what a provider said of a call."""
    hidden = {*settings.known_secrets(), *tokens_of(settings)}
    # The longest first: one may be the beginning of another.
    longest = sorted(hidden, key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, filter(None, longest))))
    return lambda text: pattern.sub("***", text)


def is_loopback(host: str) -> bool:
    """Tell whether only programs of this machine can call."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def store_of(settings: Settings) -> Store:
    """Return the archive's store."""
    return open_store(
        settings.archive,
        timeout_seconds=settings.s3_timeout_seconds,
        kms_key_id=settings.s3_kms_key_id,
        storage_class=settings.s3_storage_class,
        bucket_owner=settings.s3_bucket_owner,
    )


def shipper_of(settings: Settings, store: Store) -> Shipper:
    """Return the shipper of this instance."""
    return Shipper(
        store=store,
        providers=PROVIDERS,
        compression=COMPRESSIONS[settings.compression],
        inflated_bytes_max=int(settings.inflated_bytes_max),
        concurrency=settings.ship_concurrency,
        quiet=settings.ack == "archive",
    )


def urls_of(settings: Settings, base: str | None = None) -> list[dict[str, str]]:
    """Return each URL to register: provider, parameter it is given as, method, URL."""
    base = (base or settings.public_url or f"http://{settings.host}:{settings.port}").rstrip("/")
    token = tokens_of(settings)[0]
    return [
        {
            "provider": provider.name,
            "kind": entrance.kind,
            "parameter": entrance.parameter,
            "method": entrance.method,
            "url": f"{base}/{provider.name}/{entrance.kind}/{token}{entrance.query}",
        }
        for provider in PROVIDERS.values()
        for entrance in provider.entrances
    ]


def spool_root(settings: Settings) -> Path:
    """Return the spool's directory, made if it is missing."""
    try:
        disk.make_directory(settings.spool)
    except OSError as exc:
        detail = f"RECEIVER_SPOOL: cannot make {settings.spool}: {exc.strerror}"
        raise SettingsError(detail, hint=_SPOOL_HINT) from exc
    return settings.spool
