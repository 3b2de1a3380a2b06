"""The two forms of a log line, JSON and text, without secrets and terminal control codes."""

import logging
from collections.abc import Callable

import orjson

from receiver import clock

# Characters that strangers must not bring to a terminal: C0, DEL and C1 but newline and tab, the
# marks, embeddings, overrides and isolates that change the direction of text (UAX #9), and the
# separators that begin a line.
_CONTROLS = [code for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"]
_BIDI = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_LINES = (0x2028, 0x2029)
UNPRINTABLE = {code: f"\\x{code:02x}" for code in _CONTROLS}
UNPRINTABLE |= {code: f"\\u{code:04x}" for code in (*_BIDI, *_LINES)}
# For text that must not begin a line of its own, nor a column.
ONE_LINE = UNPRINTABLE | {ord("\n"): "\\n", ord("\t"): "\\t"}
# For encoded JSON, whose meaning stays the same.
IN_JSON = {code: f"\\u{code:04x}" for code in UNPRINTABLE}
# Messages of this logger are for people and programs that wait for them: text without a time.
ANNOUNCEMENTS = "receiver.announcement"
BOLD, RED, YELLOW = 1, 31, 33

_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def painted(text: str, colour: int) -> str:
    """Return text in a colour or a weight of the terminal (SGR, ECMA-48 §8.3.117)."""
    return f"\x1b[{colour}m{text}\x1b[0m"


class Json(logging.Formatter):
    """One JSON object per record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return time, level, logger, message and facts."""
        line: dict[str, object] = {
            "time": clock.rfc3339(int(record.created * 1_000_000)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= _facts(record)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            encoded = orjson.dumps(line, default=str)
        except TypeError:  # characters or numbers that JSON does not have
            encoded = orjson.dumps({name: _valid(value) for name, value in line.items()})
        return encoded.decode().translate(IN_JSON)


class Text(logging.Formatter):
    """One line per record for people, and the traceback below it."""

    def __init__(self, *, colours: bool) -> None:
        super().__init__()
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        """Return time, level, message and facts; warnings and errors in their colours."""
        if record.name == ANNOUNCEMENTS:
            return record.getMessage()
        time = clock.rfc3339(int(record.created * 1_000_000))[11:19]
        facts = " ".join(f"{name}={value}" for name, value in _facts(record).items())
        text = f"{time} {record.levelname.lower():7} {record.getMessage()} {facts}".rstrip()
        text = text.translate(ONE_LINE)
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info).translate(UNPRINTABLE)
        if not self._colours or record.levelno < logging.WARNING:
            return text
        return painted(text, YELLOW if record.levelno < logging.ERROR else RED)


class Hiding(logging.Formatter):
    """Takes secrets out of what another formatter made, wherever they came from."""

    def __init__(self, formatter: logging.Formatter, hide: Callable[[str], str]) -> None:
        super().__init__()
        self._formatter = formatter
        self._hide = hide

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without secrets."""
        return self._hide(self._formatter.format(record))


def _valid(value: object) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode()


def _facts(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}
