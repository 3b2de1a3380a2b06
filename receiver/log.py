"""Logs: JSON lines on stdout, or readable ones on a terminal.

A message is a constant; its facts are extra fields.  No body, query string or secret is a fact.
"""

import contextlib
import io
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, TextIO

import orjson

from receiver import clock

# C0 and C1 but newline and tab, and what reorders the text around it: strangers write names.
UNPRINTABLE = {
    code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"
} | {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
_LINE_ENDS = {ord("\n"): "\\n"}
_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _facts(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": clock.rfc3339(int(record.created * 1_000_000)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= _facts(record)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = clock.rfc3339(int(record.created * 1_000_000))[11:19]
        facts = " ".join(f"{name}={value}" for name, value in _facts(record).items())
        text = f"{time} {record.levelname.lower():7} {record.getMessage()} {facts}".rstrip()
        text = text.translate(_LINE_ENDS)
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text.translate(UNPRINTABLE)


class _Hiding(logging.Formatter):
    """Takes secrets out of what another formatter made, wherever they came from."""

    def __init__(self, formatter: logging.Formatter, hide: Callable[[str], str]) -> None:
        self._formatter = formatter
        self._hide = hide

    def format(self, record: logging.LogRecord) -> str:
        return self._hide(self._formatter.format(record))


class Sparing:
    """Logs what strangers can cause: at most so many lines a second for each reason.

    The next line says how many were left out; the metrics count them all.
    """

    def __init__(self, logger: logging.Logger, *, per_second: int = 5) -> None:
        self._logger = logger
        self._per_second = per_second
        self._second = 0
        self._logged: dict[str, int] = {}
        self._left_out: dict[str, int] = {}

    def warning(self, message: str, *, reason: str, extra: dict[str, object]) -> None:
        """Log a warning, or count it as left out."""
        second = int(time.monotonic())
        if second != self._second:
            self._second = second
            self._logged.clear()
        logged = self._logged.get(reason, 0)
        if logged >= self._per_second:
            self._left_out[reason] = self._left_out.get(reason, 0) + 1
            return
        self._logged[reason] = logged + 1
        left_out = self._left_out.pop(reason, 0)
        more = {"left_out": left_out} if left_out else {}
        self._logger.warning(message, extra={"reason": reason, **extra, **more})


class _Lasting(io.FileIO):
    """Passes over what cannot be written: whoever serves does not end because nobody reads."""

    def write(self, content: Any, /) -> int:
        written: int | None = None
        with contextlib.suppress(OSError):
            written = super().write(content)
        return len(memoryview(content).cast("B")) if written is None else written


def lasting(stream: TextIO) -> TextIO:
    """Return the same stream for a program that must outlive its reader, and a full disk.

    What cannot be written there is lost without an error.
    """
    raw = _Lasting(stream.fileno(), "wb", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.isatty(),
    )


@contextlib.contextmanager
def redirected(stream: io.TextIOBase) -> Iterator[None]:
    """Send all logging to another stream for a while."""
    handlers = [h for h in logging.getLogger().handlers if isinstance(h, logging.StreamHandler)]
    before = [handler.setStream(stream) for handler in handlers]
    try:
        yield
    finally:
        for handler, stream_before in zip(handlers, before, strict=True):
            handler.setStream(stream_before)


def configure(
    *,
    form: Literal["auto", "json", "text"],
    level: str,
    stream: TextIO | None = None,
    hide: Callable[[str], str] = str,
) -> None:
    """Send all logging of this process to one stream, stdout by default.

    ``hide`` returns a line without secrets: what a library or a provider said may repeat them.
    """
    stream = stream or sys.stdout
    readable = form == "text" or (form == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Hiding(_Text() if readable else _Json(), hide))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # uvicorn says twice what the parent says; its access log would print tokens.
    # Its warnings are one line for each request that is no HTTP: strangers write them.
    logging.getLogger("uvicorn").setLevel("ERROR")
    logging.getLogger("uvicorn.access").disabled = True
    # botocore's debug log prints headers with credentials.
    for name in ("botocore", "boto3", "urllib3"):
        logging.getLogger(name).setLevel("WARNING")
