"""`receiver check`."""

import asyncio
import difflib
import os
import time
from collections.abc import Iterator

import click

from receiver import config, disk, spool
from receiver.cli.base import masked
from receiver.cli.output import output_option, print_rows
from receiver.config import Settings
from receiver.errors import ProviderError, ProviderRefused, ReceiverError, SettingsError
from receiver.instance import APIS, Receiver, is_loopback
from receiver.providers import PROVIDERS, dataforseo_api
from receiver.store import Check

# A shorter token can be guessed by trying.
_TOKEN_CHARACTERS = 16


@click.command()
@output_option
def check(output: str) -> int:
    """Check everything that the receiver needs, and print how to fix what fails.

    Prints one line per check.  Exit status 3 if a setting, a right or credentials are wrong, 4 if
    the archive or a provider cannot be reached, 1 if another check failed.

    \b
    Examples:
      receiver check
      RECEIVER_ARCHIVE=s3://bucket/callbacks receiver check --output json
    """
    checks = list(_checks(masked(config.load())))
    rows = [
        {"check": each.name, "result": _result(each), "detail": each.detail, "hint": each.hint}
        for each in checks
    ]
    print_rows(rows, output=output, columns=("check", "result", "detail", "hint"))
    if any(each.refused for each in checks):
        return 3
    outside = ("archive", *(f"{provider} API" for provider in APIS))
    unreachable = any(each.name.startswith(outside) and not each.good for each in checks)
    return 4 if unreachable else int(not all(each.good for each in checks))


def _checks(receiver: Receiver) -> Iterator[Check]:
    settings = receiver.settings
    yield Check("settings", True, "read")
    yield _check_providers()
    spooling = _check_spool(receiver)
    if not spooling.good and not settings.tokens and is_loopback(settings.host):
        yield Check("tokens", True, "not checked: the token is kept in the spool", skipped=True)
    else:
        yield _check_tokens(receiver)
    yield spooling
    if spooling.good:
        yield _check_disk(receiver)
    yield _check_clock()
    yield from _check_families(settings)
    yield from _check_sources(settings)
    yield from _check_sending(receiver)
    yield from _check_store(receiver)
    yield from _check_apis(receiver)


def _check_providers() -> Check:
    try:
        return Check("providers", True, ", ".join(PROVIDERS))
    except SettingsError as exc:
        return Check("providers", False, exc.detail, exc.hint, refused=True)


def _check_tokens(receiver: Receiver) -> Check:
    try:
        tokens = receiver.tokens
    except ReceiverError as exc:
        return Check("tokens", False, exc.detail, exc.hint, refused=True)
    if min(map(len, tokens)) < _TOKEN_CHARACTERS:
        hint = "`receiver urls --new-token` makes a better one; both can be valid for a while"
        detail = f"a token is shorter than {_TOKEN_CHARACTERS} characters"
        return Check("tokens", False, detail, hint)
    return Check("tokens", True, f"{len(tokens)} in force")


def _check_spool(receiver: Receiver) -> Check:
    hint = "name a directory on a local disk that this user can write (RECEIVER_SPOOL)"
    try:
        root = receiver.spool_root
        began = time.perf_counter()
        path = root / f".check-{os.getpid()}"
        disk.write_durably(path, bytes(4096))
        path.unlink()
        seconds = time.perf_counter() - began
    except ReceiverError as exc:
        return Check("spool", False, exc.detail, hint, refused=True)
    except OSError as exc:
        detail = f"cannot write {receiver.settings.spool}: {exc.strerror}"
        return Check("spool", False, detail, hint, refused=True)
    return Check("spool", True, f"{root} takes a file and syncs it in {seconds * 1000:.1f} ms")


def _check_disk(receiver: Receiver) -> Check:
    room = spool.measure_room(
        receiver.spool_root,
        bytes_max=int(receiver.settings.spool_bytes_max),
        reserve_bytes=int(receiver.settings.disk_reserve_bytes),
    )
    if room.left <= 0:
        hint = "make room, or change the limit named; callbacks are answered 503 until then"
        return Check("disk", False, f"the spool is full ({room.bounded_by})", hint)
    return Check("disk", True, f"room for {room.left >> 20} MiB, bounded by {room.bounded_by}")


def _check_clock() -> Check:
    if time.time() < 1_760_000_000:
        hint = "set the clock (NTP); keys and partitions are made from it"
        return Check("clock", False, "the clock is years behind", hint)
    return Check("clock", True, "plausible")


def _check_families(settings: Settings) -> Iterator[Check]:
    """Warn of lists that were unknown when this was written; the provider may have added them."""
    for provider in ("dataforseo", "dataforapps"):
        families: tuple[str, ...] = getattr(settings, f"{provider}_families")
        unknown = [name for name in families if name.partition("/")[0] not in dataforseo_api.APIS]
        if unknown:
            meant = difflib.get_close_matches(unknown[0], dataforseo_api.APIS, n=1)
            guess = f"; did you mean {meant[0]}?" if meant else ""
            detail = f"{', '.join(unknown)}: not known to have a list of finished tasks{guess}"
            hint = f"look at RECEIVER_{provider.upper()}_FAMILIES"
            yield Check(f"{provider} families", True, detail, hint)


def _check_sources(settings: Settings) -> Iterator[Check]:
    """Check that the addresses which are compared are those of the real callers."""
    mode = settings.dataforseo_sources_mode
    if mode == "off":
        return
    if {"*", "0.0.0.0/0", "::/0"} & set(settings.forwarded_allow_ips.replace(" ", "").split(",")):
        detail = "every caller is believed whatever address it names as its own"
        hint = "set FORWARDED_ALLOW_IPS to the addresses of your load balancer"
        yield Check("sources", False, detail, hint)
    else:
        count = len(settings.dataforseo_sources)
        yield Check("sources", True, f"{mode}: {count} addresses or networks")


def _check_sending(receiver: Receiver) -> Iterator[Check]:
    """Check where and how `forward` and `replay` send, without sending anything."""
    url = receiver.settings.forward_url
    try:
        signed = "signed" if receiver.signer else "not signed"
        if url is None:
            return
        origin = receiver.form(url.get_secret_value()).origin
    except SettingsError as exc:
        hint = "correct RECEIVER_FORWARD_URL or RECEIVER_REPLAY_SECRET"
        yield Check("forward", False, str(exc), hint, refused=True)
    else:
        yield Check("forward", True, f"to {origin}, {signed}")


def _check_store(receiver: Receiver) -> Iterator[Check]:
    try:
        store = receiver.store
    except SettingsError as exc:
        yield Check("archive", False, exc.detail, exc.hint, refused=True)
    else:
        yield from store.checks()


def _check_apis(receiver: Receiver) -> Iterator[Check]:
    """Try the credentials of each provider that has some."""
    for provider in receiver.configured:
        try:
            asyncio.run(_call(receiver, provider))
        except ProviderRefused as exc:
            yield Check(f"{provider} API", False, exc.detail, exc.hint, refused=True)
        except ProviderError as exc:
            hint = f"see whether RECEIVER_{provider.upper()}_URL is right and can be reached"
            yield Check(f"{provider} API", False, str(exc), hint)
        else:
            yield Check(f"{provider} API", True, "answers, and accepts the credentials")


async def _call(receiver: Receiver, provider: str) -> None:
    """Make the cheapest call that needs the credentials."""
    async with receiver.caller(provider) as caller:
        await caller.hold(APIS[provider].probe())


def _result(check: Check) -> str:
    if check.skipped:
        return "skipped"
    if not check.good:
        return "FAILED"
    return "warning" if check.hint else "ok"
