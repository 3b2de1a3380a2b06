"""`receiver verify`."""

import os
from dataclasses import asdict

import click
from rich.progress import (
    FileSizeColumn,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)

from receiver.archive.verify import Verified
from receiver.archive.verify import verify as verify_archive
from receiver.cli.bars import bar
from receiver.cli.base import load
from receiver.cli.lookup import check_archive
from receiver.cli.moment import Instant, Moment, as_datetime, check_period
from receiver.cli.output import counted, output_option, print_json, print_rows
from receiver.store import Store


@click.command()
@click.option(
    "--since", type=Moment(), default="1d", show_default=True, help="Beginning of the period."
)
@click.option("--until", type=Moment(), default="0s", show_default="now", help="End of the period.")
@click.option("--quick", is_flag=True, help="Compare sizes and counts without reading callbacks.")
@output_option
def verify(since: Instant, until: Instant, quick: bool, output: str) -> int:
    """Check that the archive holds every segment and line that its index names, without gaps.

    Checks every day that overlaps the period, as a whole.  Exit status 1 if there are problems.

    \b
    Examples:
      receiver verify
      receiver verify --since 2026-11-01 --until 2026-12-01 --quick --output json
    """
    check_period(since, until)
    receiver = load()
    try:
        found = _verify(receiver.store, since, until, quick=quick)
    except KeyboardInterrupt:
        # Python waits for all threads when it ends, and one may wait for a silent store.
        click.echo("\nreceiver: interrupted", err=True)
        os._exit(130)
    rows = [asdict(finding) for finding in found.findings]
    if output == "json":
        for row in rows:
            print_json({"type": "finding", **row})
        summary = {**asdict(found), "findings": len(rows)}
        print_json({"type": "summary", **summary})
    elif rows or found.segments:
        if rows:
            print_rows(rows, output=output, columns=("what", "where", "detail"))
        problems = counted(len(rows), "problem") if rows else "no problems found"
        numbers = (("segment", found.segments), ("callback", found.lines), ("byte", found.bytes))
        click.echo(f"{', '.join(counted(number, noun) for noun, number in numbers)}: {problems}")
    else:
        click.echo(f"nothing to verify between {_written(since)} and {_written(until)}")
    return int(bool(rows))


def _written(instant: Instant) -> str:
    return as_datetime(instant.us).isoformat(timespec="seconds").replace("+00:00", "Z")


def _verify(store: Store, since: Instant, until: Instant, *, quick: bool) -> Verified:
    check_archive(store)
    columns = (FileSizeColumn(), TransferSpeedColumn(), TimeElapsedColumn())
    with bar(TextColumn("{task.fields[segments]} segments"), *columns) as progress:
        task = progress.add_task("", total=None, segments=0)

        def note(segments: int, size: int) -> None:
            progress.update(task, completed=size, segments=segments)

        return verify_archive(
            store,
            since=as_datetime(since.us),
            until=as_datetime(until.us),
            quick=quick,
            verified=note,
        )
