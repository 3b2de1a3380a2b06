"""`receiver verify`."""

import os
import sys
from dataclasses import asdict

import click
from rich.console import Console
from rich.progress import (
    FileSizeColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)

from receiver import config, log
from receiver.archive.verify import Verified
from receiver.archive.verify import verify as verify_archive
from receiver.cli.find import check_archive
from receiver.cli.masking import Mask
from receiver.cli.moment import Instant, Moment, as_datetime, check_period
from receiver.cli.output import counted, output_option, print_json, print_rows
from receiver.service.parts import store_of


@click.command(short_help="Prove that the archive holds what its index claims.")
@click.option("--since", type=Moment(), default="1d", show_default=True, help="From here on.")
@click.option("--until", type=Moment(), default="0s", show_default="now", help="Before this.")
@click.option("--quick", is_flag=True, help="Compare sizes and counts without reading callbacks.")
@output_option
def verify(since: Instant, until: Instant, quick: bool, output: str) -> int:
    """Prove that the archive holds every segment and line that its index claims, without gaps.

    Whole days are verified: those that the period touches.  Exit status 1 if anything is amiss.

    \b
    Examples:
      receiver verify
      receiver verify --since 2026-11-01 --until 2026-12-01 --quick --output json
    """
    check_period(since, until)
    settings = config.load()
    log.configure(
        form=settings.log_format, level="warning", stream=sys.stderr, hide=Mask(settings).text
    )
    try:
        found = _verify(settings, since, until, quick=quick)
    except KeyboardInterrupt:
        # At its end Python waits for all threads, and one may wait for a store that is silent.
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
        amiss = counted(len(rows), "finding") if rows else "nothing amiss"
        numbers = (("segment", found.segments), ("callback", found.lines), ("byte", found.bytes))
        click.echo(f"{', '.join(counted(number, noun) for noun, number in numbers)}: {amiss}")
    else:
        click.echo(f"nothing to verify between {_written(since)} and {_written(until)}")
    return int(bool(rows))


def _written(instant: Instant) -> str:
    return as_datetime(instant.us).isoformat(timespec="seconds").replace("+00:00", "Z")


def _verify(settings: config.Settings, since: Instant, until: Instant, *, quick: bool) -> Verified:
    store = store_of(settings)
    check_archive(store)
    with Progress(
        TextColumn("{task.fields[segments]} segments"),
        FileSizeColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    ) as bar:
        task = bar.add_task("", total=None, segments=0)
        return verify_archive(
            store,
            since=as_datetime(since.us),
            until=as_datetime(until.us),
            quick=quick,
            verified=lambda segments, size: bar.update(task, completed=size, segments=segments),
        )
