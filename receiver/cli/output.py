"""How commands print: a table for people, JSON Lines for programs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import click
import orjson
from rich.console import Console
from rich.table import Table

from receiver.cli.masking import json_text, one_line

# Off a terminal no line is wrapped: what reads it wants whole lines.
_WIDTH_ELSEWHERE = 10_000
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


def print_json(row: Mapping[str, Any]) -> None:
    """Print one object as one line."""
    click.echo(json_text(orjson.dumps(dict(row), default=str)))


def complain(text: str) -> None:
    """Say on stderr what is wrong."""
    click.echo(f"receiver: {one_line(text)}", err=True)


def print_rows(rows: Iterable[Mapping[str, Any]], *, output: str, columns: Sequence[str]) -> None:
    """Print rows as they are wanted."""
    if output == "json":
        for row in rows:
            print_json(row)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        # Folded, not cut: what is printed here is copied from here.
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*("" if row[name] is None else one_line(str(row[name])) for name in columns))
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=_WIDTH_ELSEWHERE)
    console.print(table)
