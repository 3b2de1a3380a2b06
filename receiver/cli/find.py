"""`receiver find`."""

import heapq
from typing import Any

import click

from receiver.catalog import search
from receiver.cli.base import load
from receiver.cli.lookup import (
    LIMIT,
    check_archive,
    filter_options,
    in_spool,
    read_filters,
    synced,
)
from receiver.cli.output import complain, output_option, print_rows

_COLUMNS = (
    *("received_at", "provider", "kind", "origin", "task_id", "tag", "status", "invalid"),
    *("body_bytes", "where", "delivery_id"),
)


@click.command()
@filter_options
@click.option(
    "--limit", type=LIMIT, default=100, show_default=True, help="Maximum number of callbacks."
)
@output_option
def find(limit: int, output: str, **given: Any) -> int:
    """Find callbacks in the archive and in this machine's spool, newest first.

    Exit status 1 if there are none.

    \b
    Examples:
      receiver find --task-id 08141207-1535-0066-0000-5b1f0c9a7e21
      receiver find --tag 'acme|run-42' --since 2h --output json
    """
    receiver = load()
    filters = read_filters(given)
    # The spool first: what is shipped between the two looks is seen twice, not never.
    waiting = (callback.row() for callback in in_spool(receiver, filters))
    rows = {row["delivery_id"]: row for row in heapq.nlargest(limit + 1, waiting, key=_age)}
    if not rows:
        check_archive(receiver.store)
    for entry in synced(receiver, filters).find(filters, order="newest", limit=limit + 1):
        rows[entry.delivery_id] = search.archived_row(entry)
    newest = sorted(rows.values(), key=_age, reverse=True)
    if not rows:
        complain("nothing found")
        return 1
    print_rows(newest[:limit], output=output, columns=_COLUMNS)
    if len(newest) > limit:
        complain(f"these are the newest {limit}; --limit shows more")
    return 0


def _age(row: dict[str, Any]) -> tuple[str, str]:
    return row["received_at"], row["delivery_id"]
