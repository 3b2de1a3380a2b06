"""`receiver export`."""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import click
from rich.console import Console
from rich.progress import FileSizeColumn, Progress, TextColumn, TimeElapsedColumn

from receiver.archive import reading
from receiver.archive.schema import Entry
from receiver.cli.find import (
    LIMIT,
    check_archive,
    filter_options,
    filters_of,
    in_spool,
    load,
    synced,
)
from receiver.cli.output import binary_stdout, complain, counted
from receiver.errors import ReceiverError
from receiver.service.parts import store_of
from receiver.store import Store

# Lost lines that are named; the others are counted.
_NAMED_MAX = 10


def _named(ctx: click.Context, param: click.Parameter, value: str | None) -> Path | None:
    """Return the file that is meant, None for stdout."""
    if value == "":
        raise click.BadParameter("name a file, or - for standard output", ctx, param)
    return None if value in (None, "-") else Path(value)


@click.command(short_help="Write the archive's lines of callbacks as JSON Lines.")
@filter_options
@click.option("--limit", type=LIMIT, help="At most so many.")
@click.option("--latest", is_flag=True, help="Only the newest of each key.")
@click.option(
    "--to",
    type=click.Path(dir_okay=False, allow_dash=True),
    callback=_named,
    help="A file instead of stdout (-); it is there when it is whole.",
)
def export(limit: int | None, latest: bool, to: Path | None, **given: Any) -> int:
    """Write the archive's lines of callbacks as JSON Lines, as they are, secrets included.

    What still waits in this machine's spool is not exported, and said to be there.  Exit status 1
    if the archive does not hold all that its index names.

    \b
    Examples:
      receiver export --since 2026-11-21 --until 2026-11-22 --provider dataforseo > day.jsonl
      receiver export --tag run-42 --latest --to run-42.jsonl
    """
    settings = load()
    filters = filters_of(given)
    store = store_of(settings)
    check_archive(store)
    waiting = {callback.columns["delivery_id"] for callback in in_spool(settings, filters)}
    catalog = synced(settings, store, filters)
    found = catalog.find(filters, order="object", limit=limit, latest=latest)
    with _opened(to) as file:
        lost = _write(file, store, found, waiting)
        file.flush()
    if waiting:
        wait = "waits" if len(waiting) == 1 else "wait"
        complain(f"{len(waiting)} more {wait} in this machine's spool")
    if lost:
        are = "is" if lost == 1 else "are"
        complain(f"{counted(lost, 'line')} {are} lost; `receiver verify` says more")
    return int(bool(lost))


def _write(file: BinaryIO, store: Store, found: Iterable[Entry], waiting: set[str]) -> int:
    """Write the lines of entries; return how many the archive does not hold."""
    lost = 0
    with Progress(
        TextColumn("{task.fields[callbacks]} callbacks"),
        FileSizeColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    ) as bar:
        task = bar.add_task("", total=None, callbacks=0)

        def counted() -> Iterator[Entry]:
            for callbacks, entry in enumerate(found, start=1):
                waiting.discard(entry.delivery_id)
                if not bar.disable:
                    bar.update(task, callbacks=callbacks)
                yield entry

        def note(entry: Entry, exc: Exception) -> None:
            nonlocal lost
            lost += 1
            if lost <= _NAMED_MAX:
                complain(f"{entry.delivery_id}: {exc}")

        for piece in reading.pieces(store, counted(), lost=note):
            file.write(piece)
            if not bar.disable:
                bar.advance(task, len(piece))
    return lost


@contextlib.contextmanager
def _opened(to: Path | None) -> Iterator[BinaryIO]:
    """Open what is written to; a file gets its name when it is whole, and only then."""
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
