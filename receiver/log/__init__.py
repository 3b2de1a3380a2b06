"""Logs: JSON lines on stdout, or readable ones on a terminal.

A message is a constant; its facts are extra fields.  No body, query string or secret is a fact.
Logging never waits: the thread that logs formats the record and puts the line into a queue, and one
thread for the whole process writes.  A line that does not fit is dropped and counted; the next line
that is written says how many were.
"""

import atexit
import contextlib
import io
import logging
import os
import sys
from collections.abc import Callable, Iterator
from typing import Literal, TextIO, cast

from receiver.log.formats import (
    ANNOUNCEMENTS,
    BOLD,
    IN_JSON,
    ONE_LINE,
    RED,
    UNPRINTABLE,
    YELLOW,
    Hiding,
    Json,
    Text,
    painted,
)
from receiver.log.sparing import Sparing
from receiver.log.writer import QUEUE_BYTES_MAX, Outlet, QueueWriter

__all__ = [
    "BOLD",
    "IN_JSON",
    "ONE_LINE",
    "RED",
    "UNPRINTABLE",
    "YELLOW",
    "Sparing",
    "announce",
    "configure",
    "flush",
    "form",
    "painted",
    "plain",
    "queue_standard_streams",
    "queued",
    "redirected",
    "without_secrets",
]

Form = Literal["json", "text", "terminal"]
Wanted = Literal["auto", "json", "text"]

_writer = QueueWriter()
atexit.register(_writer.close)


class _Handler(logging.StreamHandler[Outlet]):
    """Formats a record in the thread that logs it, and leaves the writing to the writer."""

    def __init__(self, outlet: Outlet, form: Form, hide: Callable[[str], str]) -> None:
        super().__init__(outlet)
        self.form = form
        self.hide = hide

    def close(self) -> None:
        """Write what waits, for a bounded time: `logging.shutdown` ends with this."""
        _writer.flush()
        super().close()


def configure(
    *,
    form: Wanted,
    level: str,
    stream: TextIO | None = None,
    hide: Callable[[str], str] = str,
    dropped: Callable[[], object] | None = None,
    queue_bytes_max: int = QUEUE_BYTES_MAX,
) -> None:
    """Send all logging of this process to one stream, stdout by default.

    ``hide`` returns a line without secrets: what a library or a provider said may repeat them.
    ``dropped`` is called for every line that is dropped, in any thread, because it does not fit
    into ``queue_bytes_max`` or cannot be written.
    """
    handler = _handler(stream or sys.stdout, form, hide)
    text = Text(colours=handler.form == "terminal" and not plain())
    formatter = Hiding(Json() if handler.form == "json" else text, hide)
    handler.setFormatter(formatter)
    _writer.notice = lambda lines: formatter.format(_notice(lines)) + "\n"
    _writer.bytes_max = queue_bytes_max
    if dropped is not None:
        _writer.on_drop = dropped
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger(ANNOUNCEMENTS).setLevel("INFO")
    # uvicorn repeats what the parent says, and its access log would print tokens.  Its warnings
    # are one line per request that is not HTTP: strangers write them.
    logging.getLogger("uvicorn").setLevel("ERROR")
    logging.getLogger("uvicorn.access").disabled = True
    # botocore's debug log prints headers with credentials.
    for name in ("botocore", "boto3", "urllib3"):
        logging.getLogger(name).setLevel("WARNING")
    # Credentials that cannot be renewed are reported, in one line, where they are needed.
    for name in ("botocore.credentials", "botocore.tokens"):
        logging.getLogger(name).setLevel("ERROR")


def announce(message: str) -> None:
    """Log what is printed at every level, and as text without time and level."""
    logging.getLogger(ANNOUNCEMENTS).info(message)


def form() -> Form:
    """Return the form of this process's log: ``terminal`` is text that somebody watches."""
    return next((handler.form for handler in _handlers()), "json")


def without_secrets(text: str) -> str:
    """Return text as the log shows it, for those who cut it: half a secret is not recognised."""
    for handler in _handlers():
        text = handler.hide(text)
    return text


def plain() -> bool:
    """Return whether the terminal must show no colours (no-color.org)."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def queued(stream: TextIO) -> TextIO:
    """Return the same stream for a program that must outlive its reader and a full disk.

    Writing to it never waits and never fails; it shares the log's queue, so the order is kept.
    """
    return cast("TextIO", Outlet(stream, _writer))


def queue_standard_streams() -> None:
    """Put all that this process prints on the queue, for one that serves until it is stopped."""
    sys.stdout, sys.stderr = queued(sys.stdout), queued(sys.stderr)


def flush() -> None:
    """Wait, for a bounded time, until everything logged so far is written."""
    _writer.flush()


@contextlib.contextmanager
def redirected(stream: io.TextIOBase) -> Iterator[None]:
    """Send all logging to another stream for a while; it is written there by another thread."""
    handlers = list(_handlers())
    before = [handler.setStream(Outlet(stream, _writer)) for handler in handlers]
    try:
        yield
    finally:
        for handler, outlet in zip(handlers, before, strict=True):
            if outlet is not None:
                handler.setStream(outlet)


def _handler(stream: TextIO, wanted: Wanted, hide: Callable[[str], str]) -> _Handler:
    form: Form = "terminal" if stream.isatty() else "text"
    if wanted == "json" or (wanted == "auto" and form == "text"):
        form = "json"
    outlet = stream if isinstance(stream, Outlet) else Outlet(stream, _writer)
    return _Handler(outlet, form, hide)


def _handlers() -> Iterator[_Handler]:
    return (one for one in logging.getLogger().handlers if isinstance(one, _Handler))


def _notice(lines: int) -> logging.LogRecord:
    record = logging.makeLogRecord({"name": __name__, "msg": "log lines dropped", "lines": lines})
    record.levelno, record.levelname = logging.WARNING, "WARNING"
    return record
