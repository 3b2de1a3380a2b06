"""`receiver audit`."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from receiver.catalog import Catalog
from receiver.catalog.filters import Filters
from receiver.cli.base import load
from receiver.cli.calling import hold
from receiver.cli.lookup import in_spool, synced
from receiver.cli.output import complain, counted, output_option, print_rows
from receiver.instance import Receiver
from receiver.providers.base import brings_result
from receiver.providers.dataforseo_api import id_list, read_time, write_time

_COLUMNS = ("id", "tag", "posted_at", "done_at", "status", "lacks", "url")
# The kinds of line that show that a URL was called; a result was fetched in a postback's place.
_KINDS = {"postback_url": ("postback", "result"), "pingback_url": ("pingback", "result")}
# The provider returns the URLs that tasks were posted with for this long.
_DAYS_MAX = 30


@click.command()
@click.argument("provider", type=click.Choice(["dataforseo", "dataforapps"]))
@click.option(
    "--days",
    type=click.IntRange(1, _DAYS_MAX),
    default=1,
    show_default=True,
    help="Tasks posted within the last days.",
)
@click.option(
    "--hours-late",
    type=click.IntRange(0, 24 * _DAYS_MAX),
    default=1,
    show_default=True,
    help="Only tasks that finished at least this many hours ago.",
)
@click.option("--api", "name", help="One API, such as serp; by default all that are swept.")
@output_option
def audit(provider: str, days: int, hours_late: int, name: str | None, output: str) -> int:
    """Compare the provider's own list of tasks with the archive.

    Lists the finished tasks that were posted with a URL of this receiver and whose callback is
    neither in the archive nor in this machine's spool.  Changes nothing.  Exit status 1 if there
    are any.  For Diffbot and Outscraper use `receiver sweep diffbot --dry-run`: their sweeps read
    the whole lists.

    \b
    Examples:
      receiver audit dataforseo --days 7
      receiver audit dataforseo --output json | jq -r .id | receiver dataforseo resend --from -
    """
    receiver = load(level="error")
    now = datetime.now(UTC)
    since, late = now - timedelta(days=days), now - timedelta(hours=hours_late)
    families: Sequence[str] = getattr(receiver.settings, f"{provider}_families")
    names = [name] if name else list(dict.fromkeys(f.partition("/")[0] for f in families))
    own = receiver.own_urls(provider)
    posted = [
        task
        for api in names
        for row in _listed(receiver, provider, api, since, now)
        for task in _posted_here(row, own)
        if (done_at := read_time(task["done_at"])) is not None and done_at <= late
    ]
    missing = _missing(receiver, provider, posted, since)
    print_rows(missing, output=output, columns=_COLUMNS)
    click.echo(f"{counted(len(posted), 'task')} looked at, {len(missing)} missing", err=True)
    return int(bool(missing))


def _listed(
    receiver: Receiver, provider: str, api: str, since: datetime, now: datetime
) -> list[Mapping[str, Any]]:
    # Clocks differ, and the provider refuses times that are a second outside its window.
    ahead = timedelta(minutes=5)
    window = {"since": write_time(since + ahead), "until": write_time(now + ahead)}
    rows = hold(receiver, provider, id_list(api, **window))
    for alarm in rows.alarms:
        complain(f"{api}: {alarm}")
    return rows


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
    receiver: Receiver, provider: str, posted: list[dict[str, Any]], since: datetime
) -> list[dict[str, Any]]:
    spooled = _spooled(receiver, provider)
    catalog = synced(receiver, Filters(since_us=int(since.timestamp() * 1e6)))
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


def _spooled(receiver: Receiver, provider: str) -> set[tuple[Any, str]]:
    """Return task and kind of the callbacks in this machine's spool that bring a result."""
    rows = (callback.row() for callback in in_spool(receiver, Filters(provider=provider)))
    return {
        (row["task_id"], row["kind"]) for row in rows if brings_result(row["kind"], row["invalid"])
    }
