"""Filters, catalog and spool, for the commands that look for callbacks."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.progress import TextColumn, TimeElapsedColumn

from receiver import clock
from receiver.archive.reading import Callback
from receiver.catalog import Catalog, search
from receiver.catalog.filters import Filters
from receiver.cli.bars import bar
from receiver.cli.moment import Moment, as_datetime, check_period
from receiver.errors import SettingsError
from receiver.instance import Receiver
from receiver.providers import PROVIDERS
from receiver.store import DirectoryStore, Store

F = TypeVar("F", bound=Callable[..., Any])

_DAY_US = 86_400_000_000
# More than an archive holds, and within SQLite's integers.
LIMIT = click.IntRange(1, 10**15)
# The kinds that come through the providers' entrances, and the one that a sweep fetches.
_KINDS = (
    *dict.fromkeys(way.kind for provider in PROVIDERS.values() for way in provider.entrances),
    "result",
)


def filter_options(command: F) -> F:
    """Add the filters, which are the same for every command; `read_filters` reads them."""
    options = (
        click.option(
            "--since",
            type=Moment(),
            help="Received at or after this time: RFC 3339, a date, or an age (2h).",
        ),
        click.option(
            "--until", type=Moment(), help="Received before this time; UTC unless it has a zone."
        ),
        click.option(
            "--provider",
            type=click.Choice(list(PROVIDERS)),
            help="Only callbacks of this provider.",
        ),
        click.option("--kind", type=click.Choice(_KINDS), help="Only callbacks of this kind."),
        click.option(
            "--origin",
            type=click.Choice(["callback", "sweep", "audit", "collect"]),
            help="Only what the provider delivered (callback), or what was fetched, and why.",
        ),
        click.option("--task-id", help="The provider's id of the task."),
        click.option("--tag", help="The tag that the task was posted with."),
        click.option("--key", help="The key, which all deliveries of one callback share."),
        click.option("--status", help="The task's status, as the provider gives it."),
        click.option(
            "--invalid", help="Why it is invalid; '*' for any reason, '' for valid callbacks."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def read_filters(given: dict[str, Any]) -> Filters:
    """Return the filters that a command's options give."""
    since, until = given.pop("since"), given.pop("until")
    check_period(since, until)
    return Filters(
        since_us=None if since is None else since.us,
        until_us=None if until is None else until.us,
        **given,
    )


def synced(receiver: Receiver, filters: Filters) -> Catalog:
    """Return the catalog, up to date for the hours that the filters need."""
    now_us = clock.now_us()
    since = until = None
    if filters.since_us is not None:
        # A segment is filed under its first record, so the day before can hold matches, too.
        since = as_datetime(max(min(filters.since_us, now_us) - _DAY_US, 0))
    if filters.until_us is not None and filters.until_us < now_us:
        until = as_datetime(max(filters.until_us, 0))
    with bar(TextColumn("catalog"), TimeElapsedColumn(), transient=True) as progress:
        progress.add_task("", total=None)
        receiver.catalog.sync(since=since, until=until)
    return receiver.catalog


def check_archive(store: Store) -> None:
    """Raise `SettingsError` if there is no archive, because nothing was ever written to it.

    A bucket reports that itself.
    """
    if isinstance(store, DirectoryStore) and not Path(store.url).is_dir():
        raise SettingsError(f"there is no archive at {store.url} (RECEIVER_ARCHIVE)")


def in_spool(receiver: Receiver, filters: Filters) -> Iterator[Callback]:
    """Yield the callbacks in this machine's spool that pass, if it has a spool."""
    settings = receiver.settings
    if not settings.spool.is_dir():
        return iter(())
    return search.in_spool(
        settings.spool, filters, inflated_bytes_max=int(settings.inflated_bytes_max)
    )
