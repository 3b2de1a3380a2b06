"""`receiver spool`: look into a spool."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from receiver import clock
from receiver import spool as spools
from receiver.cli.base import load
from receiver.cli.output import binary_stdout, complain, output_option, print_json, print_rows
from receiver.providers import envelope
from receiver.spool import segment

_STATES = {segment.OPEN: "open", segment.SEALED: "sealed", segment.TORN: "torn"}


@click.group()
@click.option(
    "--spool", "root", type=click.Path(path_type=Path), help="Spool directory (RECEIVER_SPOOL)."
)
@click.pass_context
def spool(ctx: click.Context, root: Path | None) -> None:
    """Look into a spool, even while a receiver is writing to it.

    \b
    Examples:
      receiver spool ls
      receiver spool --spool /mnt/old/spool verify
      receiver spool cat data/spool/0192…/0192…-3.seg
    """
    ctx.obj = root


def _root(ctx: click.Context) -> Path:
    root = ctx.obj if ctx.obj is not None else load().settings.spool
    if not root.is_dir():
        raise click.UsageError(f"there is no spool at {root}")
    assert isinstance(root, Path)
    return root


@spool.command("ls", short_help="List the segments, their state and size.")
@output_option
@click.pass_context
def ls(ctx: click.Context, output: str) -> None:
    """List the segments: state, size, and whether they are ready to ship.

    \b
    Examples:
      receiver spool ls
      receiver spool ls --output json
    """
    rows = [
        {
            "segment": found.name,
            "state": _STATES[found.path.suffix],
            "bytes": found.bytes,
            "ready": found.ready,
            "path": str(found.path),
        }
        for found in spools.files(_root(ctx))
    ]
    print_rows(rows, output=output, columns=("segment", "state", "bytes", "ready"))


@spool.command("verify")
@output_option
@click.pass_context
def verify(ctx: click.Context, output: str) -> int:
    """Read and check every record.  Exit status 1 if there is damage.

    \b
    Examples:
      receiver spool verify
      receiver spool --spool /mnt/old/spool verify --output json
    """
    rows = [_verified(found) for found in spools.files(_root(ctx))]
    columns = ("segment", "state", "records", "torn_bytes", "damaged_parts", "damaged_bytes")
    print_rows(rows, output=output, columns=columns)
    return int(any(row["damaged_parts"] for row in rows))


def _verified(found: spools.Found) -> dict[str, Any]:
    row: dict[str, Any] = {"segment": found.name, "state": _STATES[found.path.suffix]}
    records = torn = parts = damaged = 0
    for part in _parts(found.path):
        if isinstance(part, segment.Record):
            records += 1
        elif isinstance(part, segment.Torn):
            torn += part.end - part.offset
        else:
            parts += 1
            damaged += part.end - part.offset
    return row | {
        "records": records,
        "torn_bytes": torn,
        "damaged_parts": parts,
        "damaged_bytes": damaged,
    }


@spool.command("cat", short_help="Print the records of segments, without their bodies.")
@click.argument("paths", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--raw", metavar="DELIVERY_ID", help="Write only this delivery's body, as it came.")
@click.pass_context
def cat(ctx: click.Context, paths: tuple[Path, ...], raw: str | None) -> int:
    """Print the records of segments, by default of all, as JSON Lines without their bodies.

    \b
    Examples:
      receiver spool cat
      receiver spool cat data/spool/0192…/0192…-3.seg
      receiver spool cat --raw 0192… > body
    """
    if ctx.obj is not None or paths:
        load()  # for the secrets in it, which are masked
    for path in paths:
        if not _is_segment(path):
            raise click.UsageError(f"{path} is not a segment")
    files = paths or tuple(found.path for found in spools.files(_root(ctx)))
    for delivery in _deliveries(files):
        if raw is None:
            print_json(_line(delivery))
        elif delivery.delivery_id == raw:
            binary_stdout().write(delivery.body)
            return 0
    if raw is not None:
        complain(f"{raw} is not in the spool")
        return 1
    return 0


def _is_segment(path: Path) -> bool:
    """Return whether a file has the name of a segment; reading needs what the name says."""
    return path.suffix in segment.SUFFIXES and path.stem.rpartition("-")[2].isdigit()


def _deliveries(files: tuple[Path, ...]) -> Iterator[envelope.Envelope]:
    for path in files:
        for part in _parts(path):
            if isinstance(part, segment.Record):
                try:
                    yield envelope.decode(part.head, part.body)
                except ValueError:
                    complain(f"{path}: the record at {part.offset} is not a delivery")


def _parts(path: Path) -> Iterator[segment.Record | segment.Damage | segment.Torn]:
    with contextlib.suppress(FileNotFoundError):  # shipped meanwhile
        yield from segment.read(path)


def _line(delivery: envelope.Envelope) -> dict[str, Any]:
    return {
        "delivery_id": delivery.delivery_id,
        "received_at": clock.rfc3339(delivery.received_at_us),
        "provider": delivery.provider,
        "kind": delivery.kind,
        "origin": delivery.origin,
        "method": delivery.method,
        "target": delivery.target,
        "peer": delivery.peer,
        "headers": delivery.headers,
        "wire_bytes": len(delivery.body),
    }
