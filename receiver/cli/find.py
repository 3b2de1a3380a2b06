"""`receiver find`, and what it shares with other commands that look for callbacks."""

import heapq
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from receiver import clock, config, log
from receiver.archive.reading import Callback
from receiver.catalog import Catalog, search
from receiver.catalog.filters import Filters
from receiver.cli.masking import Mask
from receiver.cli.moment import Moment, as_datetime, check_period
from receiver.cli.output import complain, output_option, print_rows
from receiver.errors import SettingsError
from receiver.providers import PROVIDERS
from receiver.service.parts import store_of
from receiver.service.reconciling import catalog_of
from receiver.store import DirectoryStore, Store

F = TypeVar("F", bound=Callable[..., Any])

_COLUMNS = (
    *("received_at", "provider", "kind", "origin", "task_id", "tag", "status", "invalid"),
    *("body_bytes", "where", "delivery_id"),
)
_DAY_US = 86_400_000_000
# More than an archive has, and no more than SQLite can count.
LIMIT = click.IntRange(1, 10**15)
# What comes through the providers' entrances, and what a sweep fetches in its place.
_KINDS = (
    *dict.fromkeys(way.kind for provider in PROVIDERS.values() for way in provider.entrances),
    "result",
)


def filter_options(command: F) -> F:
    """Add the filters, the same everywhere; the command gets them as `Filters`."""
    options = (
        click.option(
            "--since", type=Moment(), help="From here on: RFC 3339, a date, or an age (2h)."
        ),
        click.option("--until", type=Moment(), help="Before this; UTC where no zone is given."),
        click.option("--provider", type=click.Choice(list(PROVIDERS)), help="Whose they are."),
        click.option("--kind", type=click.Choice(_KINDS), help="What sort of callback."),
        click.option(
            "--origin",
            type=click.Choice(["callback", "sweep", "audit", "collect"]),
            help="How they came.",
        ),
        click.option("--task-id", help="The provider's id of the task."),
        click.option("--tag", help="The tag that the task was posted with."),
        click.option("--key", help="What all deliveries of one callback share."),
        click.option("--status", help="The provider's word for how the task ended."),
        click.option("--invalid", help="A reason; '*' for any, '' for none."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def filters_of(given: dict[str, Any]) -> Filters:
    """Return the filters of a command's options."""
    since, until = given.pop("since"), given.pop("until")
    check_period(since, until)
    return Filters(
        since_us=None if since is None else since.us,
        until_us=None if until is None else until.us,
        **given,
    )


def synced(settings: config.Settings, store: Store, filters: Filters) -> Catalog:
    """Return the catalog, up to date for the hours that the filters need."""
    catalog = catalog_of(settings, store)
    now_us = clock.now_us()
    since = until = None
    if filters.since_us is not None:
        # A segment is filed under its first record, so the day before can hold what is wanted.
        since = as_datetime(max(min(filters.since_us, now_us) - _DAY_US, 0))
    if filters.until_us is not None and filters.until_us < now_us:
        until = as_datetime(max(filters.until_us, 0))
    with Progress(
        TextColumn("catalog"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    ) as bar:
        bar.add_task("", total=None)
        catalog.sync(since=since, until=until)
    return catalog


def check_archive(store: Store) -> None:
    """Make sure that there is an archive to look into, which nobody may have begun yet.

    A bucket tells by itself.  Raises `SettingsError`.
    """
    if isinstance(store, DirectoryStore) and not Path(store.url).is_dir():
        raise SettingsError(f"there is no archive at {store.url} (RECEIVER_ARCHIVE)")


def in_spool(settings: config.Settings, filters: Filters) -> Iterator[Callback]:
    """Yield what passes of this machine's spool, if it has one."""
    if not settings.spool.is_dir():
        return iter(())
    return search.in_spool(
        settings.spool, filters, inflated_bytes_max=int(settings.inflated_bytes_max)
    )


def load() -> config.Settings:
    """Return the settings, with warnings sent to stderr."""
    settings = config.load()
    log.configure(
        form=settings.log_format, level="warning", stream=sys.stderr, hide=Mask(settings).text
    )
    return settings


@click.command(short_help="Find callbacks in the archive and in this machine's spool.")
@filter_options
@click.option("--limit", type=LIMIT, default=100, show_default=True, help="At most so many.")
@output_option
def find(limit: int, output: str, **given: Any) -> int:
    """Find callbacks in the archive and in this machine's spool, the newest first.

    Exit status 1 if there is none.

    \b
    Examples:
      receiver find --task-id 08141207-1535-0066-0000-5b1f0c9a7e21
      receiver find --tag 'acme|run-42' --since 2h --output json
    """
    settings = load()
    filters = filters_of(given)
    store = store_of(settings)
    # The spool first: what is shipped between the two looks is seen twice, not never.
    waiting = (callback.row() for callback in in_spool(settings, filters))
    rows = {row["delivery_id"]: row for row in heapq.nlargest(limit + 1, waiting, key=_age)}
    if not rows:
        check_archive(store)
    for entry in synced(settings, store, filters).find(filters, order="newest", limit=limit + 1):
        rows[entry.delivery_id] = search.archived_row(entry)
    newest = sorted(rows.values(), key=_age, reverse=True)
    _print(newest[:limit], output=output, mask=Mask(settings))
    if not rows:
        complain("nothing found")
    elif len(newest) > limit:
        complain(f"these are the newest {limit}; --limit shows more")
    return int(not rows)


def _age(row: dict[str, Any]) -> tuple[str, str]:
    return row["received_at"], row["delivery_id"]


def _print(rows: list[dict[str, Any]], *, output: str, mask: Mask) -> None:
    for row in rows:
        # What strangers named.
        for name in ("task_id", "tag", "key", "status"):
            if row[name] is not None:
                row[name] = mask.text(row[name])
    if rows:
        print_rows(rows, output=output, columns=_COLUMNS)
