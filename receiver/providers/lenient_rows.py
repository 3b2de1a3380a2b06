"""The rows of a list, read one by one: a row that cannot be read does not hide the others."""

import json  # noqa: TID251 # orjson refuses what is read here
import re
from collections.abc import Iterable, Mapping
from typing import Any

from receiver.providers.lenient import text_in

# More rows than this that cannot be read, and the list is not what it seems.
_ODD_MAX = 1000
_DECODER = json.JSONDecoder(strict=False, parse_constant=lambda _: None)
_BLANK = re.compile(r"[ \t\r\n]*")
_FIRST_NAME = re.compile(r'\{\s*("(?:[^"\\]|\\.)*+")\s*:', re.DOTALL)
_LABEL = re.compile(r'"(id|name|tag)"\s*:\s*"((?:[^"\\]|\\.){1,200})"', re.DOTALL)


class Rows(list[Any]):
    """The rows that could be read, and for each that could not what it says of itself.

    That is its id, name and tag, as far as they can be read.
    """

    def __init__(self, rows: Iterable[Any] = (), odd: Iterable[dict[str, str]] = ()) -> None:
        super().__init__(rows)
        self.odd = list(odd)

    @property
    def alarms(self) -> list[str]:
        """The rows that could not be read, in words."""
        return [f"a row cannot be read: {name_of(row)}" for row in self.odd]


def name_of(row: Mapping[str, str]) -> str:
    """Return what a row that cannot be read says of itself, in words."""
    return ", ".join(f"{name} {value!r}" for name, value in row.items()) or "it names nothing"


def read_rows(content: bytes, name: str | None) -> Rows | None:
    """Return the rows of every array under a name, or of the array that the content is.

    None if there is no such array, nothing in it is a row, or the content is cut short, so that
    rows may be missing; null is an empty array.
    """
    text = text_in(content)
    if not text.rstrip(" \t\r\n\0").endswith(("}", "]")):
        return None
    start = re.compile(rf'(?<!\\)"{name}"\s*:\s*(?:\[|null)' if name else "\ufeff?\\s*\\[")
    found = start.search(text) if name else start.match(text)
    if found is None:
        return None
    rows = Rows()
    while found is not None:
        at = found.end()
        if text[at - 1] == "[":
            at = _read_array(text, at, rows)
        found = start.search(text, at) if name else None
    return rows if rows or any(rows.odd) or not rows.odd else None


def _read_array(text: str, at: int, rows: Rows) -> int:
    """Add the rows of the array that begins at a position; return where it ends."""
    first_name = _FIRST_NAME.match(text, _after_blank(text, at))
    # Rows begin alike, which is how the next one is found behind one that cannot be read.
    begin = rf"\}}\s*,\s*(?=\{{\s*{re.escape(first_name[1])}\s*:)" if first_name else "(?!)"
    next_row = re.compile(begin)
    while len(rows.odd) < _ODD_MAX:
        at = _after_blank(text, at)
        if text[at : at + 1] == "]":
            return at + 1
        end = _read_row(text, at, rows)
        if end < 0:
            following = next_row.search(text, at)
            end = following.end() if following else len(text)
            rows.odd.append(dict(_LABEL.findall(text[at:end][:_LABEL_CHARS])))
        at = end
        if at == len(text):
            break
    return len(text)


def _read_row(text: str, at: int, rows: Rows) -> int:
    """Add the row at a position; return where the next one begins, -1 if it cannot be read."""
    try:
        row, end = _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError):
        return -1
    end = _after_blank(text, end)
    if text[end : end + 1] not in (",", "]"):
        return -1
    rows.append(row)
    return end + (text[end] == ",")


# How much of a row is searched for what it says of itself.
_LABEL_CHARS = 64 << 10


def _after_blank(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    assert found is not None, "it matches anywhere"
    return found.end()
