"""`receiver ship` and `receiver drain`."""

import sys
import time
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from receiver import config, log
from receiver import spool as spools
from receiver.cli.masking import Mask
from receiver.cli.output import complain, counted, output_option, print_json
from receiver.errors import StoreError
from receiver.service.parts import shipper_of, store_of
from receiver.shipper import Shipped


@click.command()
@click.option("--spool", type=click.Path(path_type=Path), help="Spool directory (RECEIVER_SPOOL).")
@output_option
def ship(spool: Path | None, output: str) -> int:
    """Ship once what is sealed, and what dead processes left.

    \b
    Examples:
      receiver ship
      receiver ship --spool /mnt/old/spool --output json
    """
    settings = config.load(spool=spool)
    log.configure(
        form=settings.log_format, level="warning", stream=sys.stderr, hide=Mask(settings).text
    )
    _check_spool(settings)
    total = _ship(settings)
    if output == "json":
        print_json(asdict(total))
    else:
        click.echo(_said(total))
    return int(bool(total.failed))


@click.command(short_help="Empty a spool whose receiver is gone.")
@click.option("--spool", type=click.Path(path_type=Path), help="Spool directory (RECEIVER_SPOOL).")
@click.option(
    "--wait",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="Seconds to go on while the archive is away.",
)
@output_option
def drain(spool: Path | None, wait: float, output: str) -> int:
    """Empty a spool whose receiver is gone, and say whether it is empty.

    The spool may be a whole one or the directory of a single process, on this machine or copied
    from another.  What a living process still writes is left alone, and counts as not drained.

    \b
    Examples:
      receiver drain --spool /mnt/old/spool
      receiver drain --spool /mnt/old/spool --wait 3600
    """
    settings = config.load(spool=spool)
    log.configure(
        form=settings.log_format, level="warning", stream=sys.stderr, hide=Mask(settings).text
    )
    _check_spool(settings)
    total = _ship_until(settings, until=time.monotonic() + wait)
    left = sum(found.bytes > 0 for found in spools.files(settings.spool))
    if output == "json":
        print_json({**asdict(total), "left": left})
    else:
        is_left = f"{counted(left, 'segment')} left" if left else "the spool is empty"
        click.echo(f"{_said(total)}; {is_left}")
    if left:
        complain(f"{counted(left, 'segment')} {'is' if left == 1 else 'are'} not drained")
    return int(bool(left or total.failed))


def _check_spool(settings: config.Settings) -> None:
    if not settings.spool.is_dir():
        raise click.UsageError(f"there is no spool at {settings.spool}")


def _said(total: Shipped) -> str:
    callbacks, segments = counted(total.records, "callback"), counted(total.segments, "segment")
    damaged, failed = counted(total.quarantined, "damaged part"), counted(total.failed, "segment")
    return (
        f"shipped {callbacks} in {segments}, {counted(total.bytes, 'byte')}; "
        f"{damaged} quarantined, {failed} failed"
    )


def _ship_until(settings: config.Settings, *, until: float) -> Shipped:
    while True:
        try:
            return _ship(settings)
        except StoreError as exc:
            if time.monotonic() >= until:
                raise
            complain(f"{exc}; trying again")
            time.sleep(min(10.0, max(0.0, until - time.monotonic())))


def _ship(settings: config.Settings) -> Shipped:
    shipper = shipper_of(settings, store_of(settings))
    ready = sum(found.ready and found.bytes > 0 for found in spools.files(settings.spool))
    with Progress(
        TextColumn("shipping"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    ) as progress:
        task = progress.add_task("", total=ready)

        def shipped(_: str, done: Shipped) -> None:
            progress.advance(task, done.segments)

        return shipper.ship(settings.spool, shipped=shipped)
