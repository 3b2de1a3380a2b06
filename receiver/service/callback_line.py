"""One line on the terminal for each callback that is answered, for those who watch.

    12:34:56 200 dataforseo postback   38K 11221334-0696-0066-0000-a1b2c3d4e5f6 run…
    12:34:57 401 diffbot notification    0 bad_token

Time, answer, provider and kind, bytes of the body, the reason of a refusal, task, tag.
"""

import logging
import shutil
import time
from collections.abc import Callable

from rich.cells import cell_len, set_cell_size

from receiver import log
from receiver.door import Answered

_UNITS = "KMG"
# A task's id can be copied whole where it is a UUID; a tag that is cut shorter says nothing.
_TASK_CELLS = 36
_TAG_CELLS_MIN = 4


def printer() -> Callable[[Answered], None] | None:
    """Return what prints a line for an answer, or None where nobody watches.

    Somebody does where the log is text on a terminal and its level is at most ``info``.
    """
    if log.form() != "terminal" or not logging.getLogger().isEnabledFor(logging.INFO):
        return None
    coloured = not log.plain()

    def show(answer: Answered) -> None:
        text = line(answer, columns=shutil.get_terminal_size().columns)
        if coloured and answer.status >= 400:
            text = log.painted(text, log.RED if answer.status >= 500 else log.YELLOW)
        log.announce(text)

    return show


def line(answer: Answered, *, columns: int) -> str:
    """Return the line for an answer, in UTC; the tag is cut so that it fits, where it can."""
    source = f"{answer.provider} {answer.kind}"
    head = (
        f"{time.strftime('%H:%M:%S', time.gmtime())} {answer.status} {source:<20}"
        f" {_size(answer.body_bytes):>4}"
    )
    text = " ".join(filter(None, (head, answer.reason, _cut(answer.task_id, _TASK_CELLS))))
    tag = _cut(answer.tag, max(_TAG_CELLS_MIN, columns - cell_len(text) - 1))
    return f"{text} {tag}" if tag else text


def _cut(text: str | None, cells: int) -> str:
    """Return text of strangers without secrets and control codes, in at most so many columns."""
    shown = log.without_secrets(text or "").translate(log.ONE_LINE)
    return shown if cell_len(shown) <= cells else set_cell_size(shown, cells - 1) + "…"


def _size(count: int) -> str:
    """Return bytes in at most four characters: 68, 9.8K, 38K, 64M."""
    if count < 1000:
        return str(count)
    size, units = count / 1024, iter(_UNITS)
    unit = next(units)
    while size >= 999.5:
        size, unit = size / 1024, next(units)
    return f"{size:.1f}{unit}" if size < 9.95 else f"{size:.0f}{unit}"
