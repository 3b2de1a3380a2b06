"""How commands print: a table for people, JSON Lines for programs, and never a secret.

Everything that these functions print goes through the masker that `mask_with` was given, and what
could command a terminal is escaped.  Bodies that are asked for raw, and `receiver urls`, do not
use them.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, BinaryIO, TypeVar

import click
import orjson

from receiver import log
from receiver.errors import ReceiverError
from receiver.log import IN_JSON, ONE_LINE, UNPRINTABLE
from receiver.masking import Masker

_BETWEEN = "  "
F = TypeVar("F", bound=Callable[..., Any])

# A process runs one command, so there is one masker for all that it prints.
_masker = Masker()


def mask_with(masker: Masker) -> None:
    """Use this masker for everything that is printed from now on."""
    global _masker
    _masker = masker


def output_option(command: F) -> F:
    """Add `--output` to a command."""
    return click.option(
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="Print a table, or one JSON object per line.",
    )(command)


def binary_stdout() -> BinaryIO:
    """Return standard output as a binary file.  Raises `ReceiverError` if it is closed."""
    if sys.__stdout__ is None:
        raise ReceiverError("cannot write standard output: it is closed")
    return sys.stdout.buffer


def printable(text: str) -> str:
    """Return text so that it cannot command a terminal; line breaks and tabs stay."""
    return text.translate(UNPRINTABLE)


def one_line(text: str) -> str:
    """Return text so that it cannot command a terminal, nor begin a line of its own."""
    return text.translate(ONE_LINE)


def json_text(content: bytes) -> str:
    """Return encoded JSON so that it cannot command a terminal; its meaning stays the same."""
    return content.decode().translate(IN_JSON)


def counted(number: int, noun: str) -> str:
    """Return a number and its noun, in the plural unless the number is one."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def print_json(row: Any, *, indent: bool = False) -> None:
    """Print one JSON value, on one line unless ``indent`` is set."""
    masked = orjson.dumps(
        _masker.value(row),
        default=lambda value: _masker.text(str(value)),
        option=orjson.OPT_INDENT_2 if indent else None,
    )
    click.echo(json_text(masked))


def complain(text: str) -> None:
    """Print a problem on stderr, after what was logged before."""
    log.flush()
    click.echo(f"receiver: {one_line(_masker.text(text))}", err=True)


def print_rows(rows: Iterable[Mapping[str, Any]], *, output: str, columns: Sequence[str]) -> None:
    """Print rows in the format that `--output` asks for.

    A table is as wide as its content whatever the terminal, so that it can be copied whole.
    """
    if output == "json":
        for row in rows:
            print_json(row)
        return
    # Imported here, for a server process prints no table.
    from rich.cells import cell_len

    header = [name.replace("_", " ") for name in columns]
    table = [[_cell(row[column]) for column in columns] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(header, *table, strict=True)]
    # Padded by cells of the terminal: some characters take two.
    lines = [
        _BETWEEN.join(
            cell + " " * (width - cell_len(cell)) for cell, width in zip(cells, widths, strict=True)
        ).rstrip()
        for cells in (header, *table)
    ]
    click.secho(lines[0], bold=True)
    for line in lines[1:]:
        click.echo(line)


def _cell(value: Any) -> str:
    return "" if value is None else one_line(_masker.text(str(value)))
