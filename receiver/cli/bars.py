"""Progress bars, on stderr, and only where that is a terminal."""

import sys

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)


def bar(*columns: str | ProgressColumn, transient: bool = False) -> Progress:
    """Return a bar of these columns; a ``transient`` one disappears when it is done."""
    return Progress(
        *columns,
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=transient,
    )


def counting_bar(what: str) -> Progress:
    """Return a bar that shows how many of a known number are done, and the time left."""
    return bar(TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
