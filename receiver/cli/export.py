"""`receiver export`."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import click
from rich.progress import FileSizeColumn, TextColumn, TimeElapsedColumn

from receiver.archive import reading
from receiver.archive.schema import Entry
from receiver.cli.bars import bar
from receiver.cli.base import load
from receiver.cli.lookup import (
    LIMIT,
    check_archive,
    filter_options,
    in_spool,
    read_filters,
    synced,
)
from receiver.cli.output import binary_stdout, complain, counted
from receiver.errors import ReceiverError
from receiver.store import Store

# Lost lines that are named; the others are only counted.
_NAMED_MAX = 10


def _named(ctx: click.Context, param: click.Parameter, value: str | None) -> Path | None:
    """Return the file to write to, None for stdout."""
    if value == "":
        raise click.BadParameter("name a file, or - for standard output", ctx, param)
    return None if value in (None, "-") else Path(value)


@click.command()
@filter_options
@click.option("--limit", type=LIMIT, help="Maximum number of callbacks.")
@click.option(
    "--latest", is_flag=True, help="Only the newest, if possible valid, delivery of each key."
)
@click.option(
    "--to",
    type=click.Path(dir_okay=False, allow_dash=True),
    callback=_named,
    help="Write to a file, which appears only once it is complete, instead of stdout (-).",
)
def export(limit: int | None, latest: bool, to: Path | None, **given: Any) -> int:
    """Write the archive's lines of callbacks as JSON Lines, unchanged, secrets included.

    Callbacks that are still in this machine's spool are counted, not exported.  Exit status 1 if
    nothing was found, or if the archive lacks lines that its index names.

    \b
    Examples:
      receiver export --since 2026-11-21 --until 2026-11-22 --provider dataforseo > day.jsonl
      receiver export --tag run-42 --latest --to run-42.jsonl
    """
    receiver = load()
    filters = read_filters(given)
    check_archive(receiver.store)
    waiting = {callback.columns["delivery_id"] for callback in in_spool(receiver, filters)}
    catalog = synced(receiver, filters)
    found = catalog.find(filters, order="object", limit=limit, latest=latest)
    with _opened(to) as file:
        written, lost = _write(file, receiver.store, found, waiting)
        file.flush()
    if not (written or lost):
        complain("nothing found in the archive")
    if waiting:
        wait = "waits" if len(waiting) == 1 else "wait"
        complain(f"{len(waiting)} more {wait} in this machine's spool")
    if lost:
        are = "is" if lost == 1 else "are"
        complain(f"{counted(lost, 'line')} {are} lost; `receiver verify` says more")
    return int(lost > 0 or not written)


def _write(
    file: BinaryIO, store: Store, found: Iterable[Entry], waiting: set[str]
) -> tuple[int, int]:
    """Write the lines of entries; return how many entries the archive holds and how many not."""
    lost = entries = 0
    columns = (TextColumn("{task.fields[callbacks]} callbacks"), FileSizeColumn())
    with bar(*columns, TimeElapsedColumn()) as progress:
        task = progress.add_task("", total=None, callbacks=0)

        def counted() -> Iterator[Entry]:
            nonlocal entries
            for entry in found:
                entries += 1
                waiting.discard(entry.delivery_id)
                if not progress.disable:
                    progress.update(task, callbacks=entries)
                yield entry

        def note(entry: Entry, exc: Exception) -> None:
            nonlocal lost
            lost += 1
            if lost <= _NAMED_MAX:
                complain(f"{entry.delivery_id}: {exc}")

        for piece in reading.pieces(store, counted(), lost=note):
            file.write(piece)
            if not progress.disable:
                progress.advance(task, len(piece))
    return entries - lost, lost


@contextlib.contextmanager
def _opened(to: Path | None) -> Iterator[BinaryIO]:
    """Open the file to write to; it gets its name only once it is complete."""
    if to is None:
        yield binary_stdout()
        return
    try:
        if to.exists() and not to.is_file():
            with to.open("wb") as device:
                yield device
            return
        partial = to.with_name(f".{to.name}.partial-{os.getpid()}")
        try:
            with partial.open("xb") as file:
                yield file
            partial.replace(to)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as exc:
        raise ReceiverError(f"cannot write {to}: {exc.strerror or exc}") from exc
