"""`receiver urls`, `receiver config` and `receiver check`."""

import difflib
import os
import time
from collections.abc import Iterator

import click

from receiver import config, disk, spool
from receiver.cli.asking import masked
from receiver.cli.output import output_option, print_rows
from receiver.config.types import shown
from receiver.errors import ReceiverError, SettingsError
from receiver.providers import PROVIDERS, dataforseo_api
from receiver.replay import Form
from receiver.service import forwarding, parts, reconciling
from receiver.store import Check


@click.command(short_help="Print the URLs to register with each provider.")
@click.option("--new-token", is_flag=True, help="Print a fresh token and nothing else.")
@output_option
def urls(new_token: bool, output: str) -> None:
    """Print the URLs to register with each provider, placeholders included.

    Quote them in a shell: $id and $tag are for the provider to fill in.

    \b
    Examples:
      RECEIVER_PUBLIC_URL=https://hooks.example.net receiver urls
      receiver urls --new-token
    """
    if new_token:
        click.echo(parts.new_token())
        return
    found = parts.urls_of(config.load())
    if output == "json":
        print_rows(found, output=output, columns=())
        return
    for url in found:
        click.echo(f"{url['provider']:<11} {url['parameter']:<13} {url['url']}")


@click.command("config")
@output_option
def show_config(output: str) -> None:
    """Print the settings in force, secrets masked.

    \b
    Examples:
      receiver config
      receiver config --output json
    """
    settings = config.load_known()
    rows = [
        {
            "variable": config.variable(name),
            "value": _tokens(settings) if name == "tokens" else shown(getattr(settings, name)),
            "meaning": field.description,
        }
        for name, field in config.Settings.model_fields.items()
    ]
    print_rows(rows, output=output, columns=("variable", "value", "meaning"))
    # After the list, which helps to find the right name.
    config.refuse_unknown()


@click.command(short_help="Try out what the receiver needs, and say how to fix it.")
@output_option
def check(output: str) -> int:
    """Try out what the receiver needs, one line each, and say how to fix what fails.

    \b
    Examples:
      receiver check
      RECEIVER_ARCHIVE=s3://bucket/callbacks receiver check --output json
    """
    settings = config.load()
    checks = list(_checks(settings))
    rows = [
        {
            "check": check.name,
            "result": _result(check),
            "detail": check.detail,
            "hint": check.hint,
        }
        for check in checks
    ]
    # What a provider or a store says of a call can repeat what it was called with.
    rows = masked(settings, rows)
    print_rows(rows, output=output, columns=("check", "result", "detail", "hint"))
    if any(check.refused for check in checks):
        return 3
    unreachable = any(
        (check.name.startswith("archive") or check.name.endswith(" API")) and not check.good
        for check in checks
    )
    return 4 if unreachable else int(not all(check.good for check in checks))


def _checks(settings: config.Settings) -> Iterator[Check]:
    yield Check("settings", True, "read")
    yield _check_providers()
    spooling = _check_spool(settings)
    if not spooling.good and not settings.tokens and parts.is_loopback(settings.host):
        yield Check("tokens", True, "not looked at: the spool would hold one", skipped=True)
    else:
        yield _check_tokens(settings)
    yield spooling
    if spooling.good:
        yield _check_disk(settings)
    yield _check_clock()
    yield from _check_families(settings)
    yield from _check_sources(settings)
    yield from _check_sending(settings)
    yield from parts.store_of(settings).checks()
    yield from reconciling.checks(settings)


def _check_providers() -> Check:
    try:
        return Check("providers", True, ", ".join(PROVIDERS))
    except SettingsError as exc:
        return Check("providers", False, exc.detail, exc.hint, refused=True)


def _check_sources(settings: config.Settings) -> Iterator[Check]:
    """Look whether the addresses that are checked are those of the callers."""
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


def _check_families(settings: config.Settings) -> Iterator[Check]:
    """Look for lists that are none that were known when this was written: there may be new ones."""
    for provider in ("dataforseo", "dataforapps"):
        families: tuple[str, ...] = getattr(settings, f"{provider}_families")
        unknown = [name for name in families if name.partition("/")[0] not in dataforseo_api.APIS]
        if unknown:
            meant = difflib.get_close_matches(unknown[0], dataforseo_api.APIS, n=1)
            guess = f"; did you mean {meant[0]}?" if meant else ""
            detail = f"{', '.join(unknown)}: not known to have a list of finished tasks{guess}"
            hint = f"look at RECEIVER_{provider.upper()}_FAMILIES"
            yield Check(f"{provider} families", True, detail, hint)


def _check_sending(settings: config.Settings) -> Iterator[Check]:
    """Look at where and how `forward` and `replay` send; nothing is sent."""
    try:
        signed = "signed" if forwarding.signer_of(settings) else "not signed"
        if settings.forward_url is None:
            return
        origin = Form(settings.forward_url.get_secret_value()).origin
    except SettingsError as exc:
        hint = "correct RECEIVER_FORWARD_URL or RECEIVER_REPLAY_SECRET"
        yield Check("forward", False, str(exc), hint, refused=True)
    else:
        yield Check("forward", True, f"to {origin}, {signed}")


def _check_tokens(settings: config.Settings) -> Check:
    try:
        tokens = parts.tokens_of(settings)
    except ReceiverError as exc:
        return Check("tokens", False, exc.detail, exc.hint, refused=True)
    if min(map(len, tokens)) < 16:
        hint = "`receiver urls --new-token` makes a better one; both can be valid for a while"
        return Check("tokens", False, "a token is shorter than 16 characters", hint)
    return Check("tokens", True, f"{len(tokens)} in force")


def _check_spool(settings: config.Settings) -> Check:
    hint = "name a directory on a local disk that this user can write (RECEIVER_SPOOL)"
    try:
        root = parts.spool_root(settings)
        began = time.perf_counter()
        path = root / f".check-{os.getpid()}"
        disk.write_durably(path, bytes(4096))
        path.unlink()
        seconds = time.perf_counter() - began
    except ReceiverError as exc:
        return Check("spool", False, exc.detail, hint, refused=True)
    except OSError as exc:
        detail = f"cannot write {settings.spool}: {exc.strerror}"
        return Check("spool", False, detail, hint, refused=True)
    return Check("spool", True, f"{root} takes a file and syncs it in {seconds * 1000:.1f} ms")


def _check_disk(settings: config.Settings) -> Check:
    room = spool.measure_room(
        parts.spool_root(settings),
        bytes_max=int(settings.spool_bytes_max),
        reserve_bytes=int(settings.disk_reserve_bytes),
    )
    if room.left <= 0:
        hint = "make room, or change the limit named; callbacks are answered 503 until then"
        return Check("disk", False, f"the spool is full ({room.bounded_by})", hint)
    return Check("disk", True, f"room for {room.left >> 20} MiB, bounded by {room.bounded_by}")


def _check_clock() -> Check:
    if time.time() < 1_760_000_000:
        hint = "set the clock (NTP); keys and partitions are made of it"
        return Check("clock", False, "the clock is years behind", hint)
    return Check("clock", True, "plausible")


def _result(check: Check) -> str:
    if check.skipped:
        return "skipped"
    if not check.good:
        return "FAILED"
    return "warning" if check.hint else "ok"


def _tokens(settings: config.Settings) -> str:
    """Show the tokens, also the one that was made because none are set."""
    made = parts.made_token(settings)
    try:
        in_force = not settings.tokens and made.exists()
    except OSError:
        in_force = False  # not for this user
    return f"*** (made, in {made})" if in_force else shown(settings.tokens)
