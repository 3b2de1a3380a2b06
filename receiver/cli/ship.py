"""`receiver ship` and `receiver drain`."""

import sys
import time
from dataclasses import asdict
from pathlib import Path

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from receiver import config, log
from receiver import spool as spools
from receiver.cli.masking import Mask
from receiver.cli.output import output_option
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
    return _ship(settings, output)


@click.command()
@click.option("--spool", type=click.Path(path_type=Path), help="Spool directory (RECEIVER_SPOOL).")
@click.option("--wait", type=float, default=0.0, help="Seconds to go on while the archive is away.")
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
    if not settings.spool.is_dir():
        raise click.UsageError(f"there is no spool at {settings.spool}")
    until = time.monotonic() + wait
    status = _ship_until(settings, output, until=until)
    left = [found for found in spools.files(settings.spool) if found.bytes]
    if left:
        click.echo(f"receiver: {len(left)} segments are not drained", err=True)
        return 1
    return status


def _ship_until(settings: config.Settings, output: str, *, until: float) -> int:
    while True:
        try:
            return _ship(settings, output)
        except StoreError as exc:
            if time.monotonic() >= until:
                raise
            click.echo(f"receiver: {exc}; trying again", err=True)
            time.sleep(min(10.0, max(0.0, until - time.monotonic())))


def _ship(settings: config.Settings, output: str) -> int:
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

        total = shipper.ship(settings.spool, shipped=shipped)
    if output == "json":
        click.echo(orjson.dumps(asdict(total)).decode())
    else:
        click.echo(
            f"shipped {total.records} callbacks in {total.segments} segments, {total.bytes} bytes; "
            f"{total.quarantined} damaged parts quarantined, {total.failed} segments failed"
        )
    return 1 if total.failed else 0
