"""How commands print: a table for people, JSON Lines for programs."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, BinaryIO, TypeVar

import click
import orjson
from rich.cells import cell_len

from receiver import log
from receiver.cli.masking import json_text, one_line
from receiver.errors import ReceiverError

_BETWEEN = "  "
F = TypeVar("F", bound=Callable[..., Any])


def output_option(command: F) -> F:
    """Add `--output` to a command."""
    return click.option(
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="How to print: a table, or one JSON object a line.",
    )(command)


def binary_stdout() -> BinaryIO:
    """Return what takes bytes as they are.  Raises `ReceiverError` where nothing does."""
    if sys.__stdout__ is None:
        raise ReceiverError("cannot write standard output: it is closed")
    return sys.stdout.buffer


def counted(number: int, noun: str) -> str:
    """Return a number and what is counted, which takes an s if it is not one."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def print_json(row: Mapping[str, Any]) -> None:
    """Print one object as one line."""
    click.echo(json_text(orjson.dumps(dict(row), default=str)))


def complain(text: str) -> None:
    """Say on stderr what is wrong, after what was logged before."""
    log.flush()
    click.echo(f"receiver: {one_line(text)}", err=True)


def print_rows(rows: Iterable[Mapping[str, Any]], *, output: str, columns: Sequence[str]) -> None:
    """Print rows as they are wanted.

    A table is as wide as what it shows, on any terminal: what is printed here is copied from here.
    """
    if output == "json":
        for row in rows:
            print_json(row)
        return
    header = [name.replace("_", " ") for name in columns]
    table = [["" if row[c] is None else one_line(str(row[c])) for c in columns] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(header, *table, strict=True)]
    click.secho(_line(header, widths), bold=True)
    for cells in table:
        click.echo(_line(cells, widths))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    # Padded to cells of a terminal, of which some characters take two.
    padded = (
        cell + " " * (width - cell_len(cell)) for cell, width in zip(cells, widths, strict=True)
    )
    return _BETWEEN.join(padded).rstrip()
