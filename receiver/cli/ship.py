"""`receiver ship` and `receiver drain`."""

import time
from dataclasses import asdict
from pathlib import Path

import click

from receiver import config
from receiver import spool as spools
from receiver.cli.bars import counting_bar
from receiver.cli.base import check_spool, load, load_service
from receiver.cli.output import complain, counted, output_option, print_json
from receiver.errors import StoreError
from receiver.instance import Receiver
from receiver.shipper import Shipped


@click.command()
@click.option("--spool", type=click.Path(path_type=Path), help="Spool directory (RECEIVER_SPOOL).")
@click.option("--watch", is_flag=True, help="Ship again and again, until SIGTERM or Ctrl-C.")
@output_option
def ship(spool: Path | None, watch: bool, output: str) -> int:
    """Ship the segments that are sealed, and those that dead processes left.

    Ships once, or with --watch until it is stopped, and then a last time for at most
    RECEIVER_SHUTDOWN_SECONDS.  `receiver serve` ships by itself; --watch is for a door that another
    process manager runs on this machine.  It logs to stdout, backs off while the archive is down,
    tries again at once on SIGUSR1, and exits with 0 after SIGTERM.  Without --watch, exit status 1
    if a segment failed.

    \b
    Examples:
      receiver ship
      receiver ship --spool /mnt/old/spool --output json
      receiver ship --watch & uvicorn --factory receiver.asgi:create
    """
    if watch:
        if output != "table":
            raise click.UsageError("--watch prints logs, and takes no --output")
        return _watch(config.load(spool=spool))
    receiver = load(spool=spool)
    check_spool(receiver.settings)
    total = _ship(receiver)
    if total.failed:
        complain(f"{counted(total.failed, 'segment')} failed: {receiver.shipper.reason}")
    if output == "json":
        print_json(asdict(total))
    else:
        click.echo(_summary(total))
    return int(bool(total.failed))


def _watch(settings: config.Settings) -> int:
    from receiver.service import running, shipping

    receiver = load_service(settings)
    shipping.share_heaps()
    running.run(shipping.watch(receiver))


@click.command()
@click.option("--spool", type=click.Path(path_type=Path), help="Spool directory (RECEIVER_SPOOL).")
@click.option(
    "--wait",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="Seconds to keep trying while the archive cannot be reached.",
)
@output_option
def drain(spool: Path | None, wait: float, output: str) -> int:
    """Ship everything in a spool whose receiver is gone, and report whether it is empty.

    The spool may be a whole one or the directory of a single process, on this machine or copied
    from another.  Segments that a running process is still writing are left alone, and count as
    not drained; so do symbolic links, which are never followed.  Exit status 1 if the spool is not
    empty.

    \b
    Examples:
      receiver drain --spool /mnt/old/spool
      receiver drain --spool /mnt/old/spool --wait 3600
    """
    receiver = load(spool=spool)
    check_spool(receiver.settings)
    total = _ship_until(receiver, until=time.monotonic() + wait)
    links: list[Path] = []
    found = spools.files(receiver.settings.spool, passed_over=links.append)
    left = sum(one.bytes > 0 for one in found) + len(links)
    if output == "json":
        print_json({**asdict(total), "left": left})
    else:
        state = f"{counted(left, 'segment')} left" if left else "the spool is empty"
        click.echo(f"{_summary(total)}; {state}")
    if left:
        complain(f"{counted(left, 'segment')} {'is' if left == 1 else 'are'} not drained")
    return int(bool(left or total.failed))


def _summary(total: Shipped) -> str:
    callbacks, segments = counted(total.records, "callback"), counted(total.segments, "segment")
    damaged, failed = counted(total.quarantined, "damaged part"), counted(total.failed, "segment")
    return (
        f"shipped {callbacks} in {segments}, {counted(total.bytes, 'byte')}; "
        f"{damaged} quarantined, {failed} failed"
    )


def _ship_until(receiver: Receiver, *, until: float) -> Shipped:
    while True:
        try:
            return _ship(receiver)
        except StoreError as exc:
            if time.monotonic() >= until:
                raise
            complain(f"{exc}; trying again")
            time.sleep(min(10.0, max(0.0, until - time.monotonic())))


def _ship(receiver: Receiver) -> Shipped:
    spool = receiver.settings.spool
    ready = sum(found.ready and found.bytes > 0 for found in spools.files(spool))
    with counting_bar("shipping") as bar:
        task = bar.add_task("", total=ready)

        def shipped(_: str, done: Shipped) -> None:
            bar.advance(task, done.segments)

        return receiver.shipper.ship(spool, shipped=shipped)
