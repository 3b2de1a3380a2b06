"""`receiver audit`."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from receiver import config
from receiver.catalog import Catalog, search
from receiver.catalog.filters import Filters
from receiver.cli.asking import hold, load_settings, masked
from receiver.cli.find import synced
from receiver.cli.output import counted, output_option, print_rows
from receiver.providers.base import brings_result
from receiver.providers.dataforseo_api import id_list, read_time, write_time
from receiver.service.parts import store_of
from receiver.service.reconciling import own_urls

_COLUMNS = ("id", "tag", "posted_at", "done_at", "status", "lacks", "url")
# Which kinds of line answer for a registered URL; a result was fetched in a postback's place.
_KINDS = {"postback_url": ("postback", "result"), "pingback_url": ("pingback", "result")}
# The provider answers to no more with what tasks were posted with.
_DAYS_MAX = 30


@click.command()
@click.argument("provider", type=click.Choice(["dataforseo", "dataforapps"]))
@click.option(
    "--days",
    type=click.IntRange(1, _DAYS_MAX),
    default=1,
    show_default=True,
    help="Tasks that were posted within so many days.",
)
@click.option(
    "--hours-late",
    type=click.IntRange(0, 24 * _DAYS_MAX),
    default=1,
    show_default=True,
    help="Only those that have been done for so many hours.",
)
@click.option("--api", "name", help="One API, such as serp; all that are swept by default.")
@output_option
def audit(provider: str, days: int, hours_late: int, name: str | None, output: str) -> int:
    """Compare the provider's own list of tasks with the archive.

    Lists the tasks that were posted with a URL of this receiver, are done for so many hours, and
    of which neither the archive nor this machine's spool has what that URL was to bring.  Changes
    nothing; exit status 1 if there are any.  The lists of Diffbot and Outscraper are read whole by
    their sweeps: `receiver sweep diffbot --dry-run`.

    \b
    Examples:
      receiver audit dataforseo --days 7
      receiver audit dataforseo --output json | jq -r .id | receiver dataforseo resend --from -
    """
    settings = load_settings()
    now = datetime.now(UTC)
    since, late = now - timedelta(days=days), now - timedelta(hours=hours_late)
    families: Sequence[str] = getattr(settings, f"{provider}_families")
    names = [name] if name else list(dict.fromkeys(f.partition("/")[0] for f in families))
    own = own_urls(settings, provider)
    posted = [
        task
        for api in names
        for row in _listed(settings, provider, api, since, now)
        for task in _posted_here(row, own)
        if (done_at := read_time(task["done_at"])) is not None and done_at <= late
    ]
    missing = _missing(settings, provider, posted, since)
    print_rows(masked(settings, missing), output=output, columns=_COLUMNS)
    click.echo(f"{counted(len(posted), 'task')} looked at, {len(missing)} missing", err=True)
    return int(bool(missing))


def _listed(
    settings: config.Settings, provider: str, api: str, since: datetime, now: datetime
) -> list[Mapping[str, Any]]:
    # Clocks differ, and the provider refuses what is a second older than its window.
    ahead = timedelta(minutes=5)
    window = {"since": write_time(since + ahead), "until": write_time(now + ahead)}
    return hold(settings, provider, id_list(api, **window))


def _posted_here(row: Mapping[str, Any], own: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield a task of the list once for each of our URLs that it was posted with."""
    metadata, task_id = row.get("metadata"), row.get("id")
    if not isinstance(metadata, dict) or not isinstance(task_id, str):
        return
    for parameter in _KINDS:
        if any(part in str(metadata.get(parameter)) for part in own):
            yield {
                "id": task_id,
                "tag": metadata.get("tag"),
                "posted_at": row.get("datetime_posted"),
                "done_at": row.get("datetime_done"),
                "status": str(row.get("status")),
                "lacks": parameter,
                "url": row.get("url"),
            }


def _missing(
    settings: config.Settings, provider: str, posted: list[dict[str, Any]], since: datetime
) -> list[dict[str, Any]]:
    store = store_of(settings)
    spooled = _spooled(settings, provider)
    catalog = synced(settings, store, Filters(since_us=int(since.timestamp() * 1e6)))
    held: dict[str, set[Any]] = {
        parameter: _archived(catalog, provider, posted, kinds)
        | {task_id for task_id, kind in spooled if kind in kinds}
        for parameter, kinds in _KINDS.items()
    }
    return [task for task in posted if task["id"] not in held[task["lacks"]]]


def _archived(
    catalog: Catalog, provider: str, posted: list[dict[str, Any]], kinds: Sequence[str]
) -> set[str]:
    return catalog.archived(provider, (task["id"] for task in posted), kinds=kinds)


def _spooled(settings: config.Settings, provider: str) -> set[tuple[Any, str]]:
    """Return task and kind of what waits in this machine's spool."""
    if not settings.spool.is_dir():
        return set()
    found = search.in_spool(
        settings.spool,
        Filters(provider=provider),
        inflated_bytes_max=int(settings.inflated_bytes_max),
    )
    rows = (callback.row() for callback in found)
    return {
        (row["task_id"], row["kind"]) for row in rows if brings_result(row["kind"], row["invalid"])
    }
