"""`receiver find`, `receiver show` and `receiver export`."""

import re
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import click
import orjson
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from rich.syntax import Syntax

from receiver import clock, config, log, search
from receiver.archive import spans
from receiver.catalog import Catalog
from receiver.cli.asking import masked
from receiver.cli.moment import Moment, as_datetime
from receiver.cli.output import output_option, print_rows
from receiver.errors import ReceiverError
from receiver.filters import Filters
from receiver.providers import PROVIDERS
from receiver.service.parts import store_of
from receiver.service.reconciling import catalog_of
from receiver.store import Store

F = TypeVar("F", bound=Callable[..., Any])

_COLUMNS = ("received_at", "provider", "kind", "origin", "task_id", "tag", "status", "invalid")
_FIRST_DAY = datetime(2020, 1, 1, tzinfo=UTC)
_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z")


def filter_options(command: F) -> F:
    """Add the filters, the same everywhere; the command gets them as `Filters`."""
    options = (
        click.option(
            "--since", type=Moment(), help="From here on: RFC 3339, a date, or an age (2h)."
        ),
        click.option("--until", type=Moment(), help="Before this; UTC where no zone is given."),
        click.option("--provider", type=click.Choice(list(PROVIDERS))),
        click.option("--kind"),
        click.option("--origin", type=click.Choice(["callback", "sweep", "audit", "collect"])),
        click.option("--task-id"),
        click.option("--tag"),
        click.option("--key"),
        click.option("--status"),
        click.option("--invalid", help="A reason; '*' for any, '' for none."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def filters_of(given: dict[str, Any]) -> Filters:
    """Return the filters of a command's options."""
    since, until = given.pop("since"), given.pop("until")
    return Filters(
        since_us=None if since is None else since.us,
        until_us=None if until is None else until.us,
        **given,
    )


def synced(settings: config.Settings, store: Store, filters: Filters) -> Catalog:
    """Return the catalog, up to date for the days that the filters need."""
    catalog = catalog_of(settings, store)
    # A segment is filed under its first record, so the day before can hold what is looked for.
    since = as_datetime(filters.since_us) - timedelta(days=1) if filters.since_us else _FIRST_DAY
    with Progress(
        TextColumn("catalog"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    ) as bar:
        bar.add_task("", total=None)
        catalog.sync(since=since)
    return catalog


def _load() -> config.Settings:
    settings = config.load()
    log.configure(form=settings.log_format, level="warning", stream=sys.stderr)
    return settings


@click.command()
@filter_options
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True)
@output_option
def find(limit: int, output: str, **given: Any) -> int:
    """Find callbacks in the archive and in this machine's spool, the newest first.

    Exit status 1 if there is none.

    \b
    Examples:
      receiver find --task-id 08141207-1535-0066-0000-5b1f0c9a7e21
      receiver find --tag 'acme|run-42' --since 2h --output json
    """
    settings = _load()
    filters = filters_of(given)
    store = store_of(settings)
    catalog = synced(settings, store, filters)
    waiting = [row for row, _ in _in_spool(settings, filters)]
    found = catalog.find(filters, order="newest", limit=limit)
    rows = [*reversed(waiting), *map(search.archived_row, found)]
    rows.sort(key=lambda row: row["received_at"], reverse=True)
    rows = rows[:limit]
    columns = (*_COLUMNS, "body_bytes", "where", "delivery_id")
    print_rows(rows, output=output, columns=columns)
    return int(not rows)


@click.command()
@click.argument("identifier", metavar="ID")
@click.option("--raw", is_flag=True, help="Write the body alone, byte for byte, unmasked.")
def show(identifier: str, raw: bool) -> None:
    """Print one callback: by delivery id, or the newest of a task.

    \b
    Examples:
      receiver show 01a1ffe2-9af7-7876-bde4-fce4249227b4
      receiver show 08141207-1535-0066-0000-5b1f0c9a7e21 --raw | jq .tasks[0].result
    """
    settings = _load()
    store = store_of(settings)
    row = _one(settings, store, identifier)
    if raw:
        sys.stdout.buffer.write(search.body_of(row))
        return
    body = row.pop("body")
    (shown,) = masked(settings, [{**row, "body": body}])
    text = shown.pop("body")
    click.echo(orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode())
    click.echo()
    _print_body(text)


@click.command()
@filter_options
@click.option("--limit", type=click.IntRange(1))
@click.option("--latest", is_flag=True, help="Only the newest of each key.")
@click.option(
    "--to", type=click.Path(dir_okay=False, path_type=Path), help="A file instead of stdout."
)
def export(limit: int | None, latest: bool, to: Path | None, **given: Any) -> None:
    """Write the archive's lines of callbacks as JSON Lines.

    \b
    Examples:
      receiver export --since 2026-11-21 --until 2026-11-22 --provider dataforseo > day.jsonl
      receiver export --tag run-42 --latest --to run-42.jsonl
    """
    settings = _load()
    filters = filters_of(given)
    store = store_of(settings)
    found = synced(settings, store, filters).find(
        filters, order="object", limit=limit, latest=latest
    )
    if to is None:
        _write(sys.stdout.buffer, spans.lines(store, found))
        return
    with to.open("wb") as file:
        _write(file, spans.lines(store, found))


def _write(file: BinaryIO, lines: Iterator[bytes]) -> None:
    with Progress(
        TextColumn("{task.completed} callbacks"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    ) as bar:
        task = bar.add_task("", total=None)
        for line in lines:
            file.write(line + b"\n")
            bar.advance(task)


def _in_spool(
    settings: config.Settings, filters: Filters
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    if not settings.spool.is_dir():
        return iter(())
    return search.in_spool(
        settings.spool, filters, inflated_bytes_max=int(settings.inflated_bytes_max)
    )


def _one(settings: config.Settings, store: Store, identifier: str) -> dict[str, Any]:
    """Return the line of a delivery, or the newest one of a task."""
    filters = Filters(task_id=identifier)
    if _UUID7.match(identifier):
        at_us = clock.id_time_us(identifier)
        filters = Filters(since_us=at_us, until_us=at_us + 1000)
    catalog = synced(settings, store, filters)
    for entry in catalog.find(filters, order="newest"):
        if identifier in (entry.delivery_id, entry.task_id):
            (line,) = spans.lines(store, [entry])
            row = orjson.loads(line)
            assert isinstance(row, dict)
            return row
    for shown, whole in _in_spool(settings, filters):
        if identifier in (shown["delivery_id"], shown["task_id"]):
            return {**whole, "where": "spool"}
    raise ReceiverError(f"{identifier} is neither in the archive nor in this machine's spool")


def _print_body(text: str | None) -> None:
    if text is None:
        return
    try:
        pretty = orjson.dumps(orjson.loads(text), option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONDecodeError:
        click.echo(text)
        return
    console = Console()
    if console.is_terminal:
        console.print(Syntax(pretty, "json", background_color="default", word_wrap=True))
    else:
        click.echo(pretty)
