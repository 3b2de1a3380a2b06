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

from receiver import search
from receiver.archive.reading import Entry
from receiver.cli.find import filter_options, filters_of, in_spool, load, synced
from receiver.cli.output import complain
from receiver.errors import ReceiverError
from receiver.service.parts import store_of
from receiver.store import Store

# Lost lines that are named; the others are counted.
_NAMED_MAX = 10


@click.command()
@filter_options
@click.option("--limit", type=click.IntRange(1))
@click.option("--latest", is_flag=True, help="Only the newest of each key.")
@click.option(
    "--to",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file instead of stdout; it is there when it is whole.",
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
    waiting = {callback.columns["delivery_id"] for callback in in_spool(settings, filters)}
    catalog = synced(settings, store, filters)
    found = catalog.find(filters, order="object", limit=limit, latest=latest)
    with _opened(to) as file:
        lost = _write(file, store, found, waiting)
        file.flush()
    if waiting:
        click.echo(f"receiver: {len(waiting)} more wait in this machine's spool", err=True)
    if lost:
        click.echo(f"receiver: {lost} lines are lost; `receiver verify` says more", err=True)
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

        for piece in search.pieces(store, counted(), lost=note):
            file.write(piece)
            if not bar.disable:
                bar.advance(task, len(piece))
    return lost


@contextlib.contextmanager
def _opened(to: Path | None) -> Iterator[BinaryIO]:
    """Open what is written to; a file gets its name when it is whole, and only then."""
    if to is None:
        yield sys.stdout.buffer
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
