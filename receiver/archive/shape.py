"""The shape of what is read from the archive.

Whoever can write to the bucket can write anything there, and what is read reaches URLs, headers,
file names and memory.  So every entry and every line is checked once, where it is read: ids are
UUIDv7, names are slugs, times are as the writer writes them, numbers are within bounds.  What fails
is `Damaged`.  A provider that is not installed here is legal.
"""

import functools
from typing import TypeVar

import msgspec

from receiver import clock
from receiver.archive import schema
from receiver.archive.schema import Entry, Indexed, Line
from receiver.errors import Damaged

# Larger than any result that the settings accept, once it is a compressed line.
MEMBER_BYTES_MAX = 4 << 30
_LINE_BYTES_MAX = 1 << 40
# Every reader of JSON has integers up to this one.
_NUMBER_MAX = (1 << 53) - 1
_LINE = msgspec.json.Decoder(Line)

T = TypeVar("T", bound=Indexed)


def check(row: Indexed) -> int:
    """Return when a callback arrived, in microseconds since 1970.

    Raises `ValueError` if a column that a line and its entry have in common is not as it is
    written.  The message does not repeat the column's value.
    """
    if not clock.is_id(row.delivery_id):
        raise ValueError("its delivery_id is not a UUIDv7")
    _check_names(row.provider, row.kind, row.origin, row.invalid)
    if not 0 <= row.body_bytes <= _NUMBER_MAX:
        raise ValueError("its body_bytes is out of bounds")
    try:
        at_us = clock.read_rfc3339(row.received_at)
        written = clock.rfc3339(at_us)
    except (ValueError, OverflowError):
        raise ValueError("its received_at is not a time") from None
    if at_us < 0 or written != row.received_at:
        raise ValueError("its received_at is not a time in UTC with microseconds")
    return at_us


def check_place(entry: Entry) -> None:
    """Raise `ValueError` if an entry's numbers are out of bounds."""
    if not 0 <= entry.position < entry.of <= _NUMBER_MAX:
        raise ValueError("its position is out of bounds")
    if not 0 <= entry.member_offset <= _NUMBER_MAX:
        raise ValueError("its member_offset is out of bounds")
    if not 0 < entry.member_bytes <= MEMBER_BYTES_MAX:
        raise ValueError("its member_bytes is out of bounds")
    if not 0 <= entry.line_offset <= _NUMBER_MAX:
        raise ValueError("its line_offset is out of bounds")
    if not 0 < entry.line_bytes <= _LINE_BYTES_MAX:
        raise ValueError("its line_bytes is out of bounds")


def bounded(row: T) -> T:
    """Return a row without values that are longer than any that is written now."""
    if (
        schema.fits(row.task_id)
        and schema.fits(row.tag)
        and schema.fits(row.key)
        and schema.fits(row.status, schema.STATUS_BYTES_MAX)
    ):
        return row
    longer = (
        name for name, bound in schema.BOUNDED.items() if not schema.fits(getattr(row, name), bound)
    )
    return msgspec.structs.replace(row, **dict.fromkeys(longer))


def line(content: bytes, entry: Entry) -> Line:
    """Return an entry's line, checked.  Raises `Damaged`."""
    try:
        found = _LINE.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise Damaged(f"{entry.object}: the line of {entry.delivery_id}: {exc}") from exc
    return checked(found, entry)


def checked(found: Line, entry: Entry) -> Line:
    """Return a line with its long values as null.  Raises `Damaged` if it is not the entry's."""
    try:
        check(found)
    except ValueError as exc:
        raise Damaged(f"{entry.object}: the line of {entry.delivery_id}: {exc}") from exc
    if found.delivery_id != entry.delivery_id:
        raise Damaged(f"{entry.object} does not hold {entry.delivery_id} where its index says")
    return bounded(found)


# Thousands of callbacks share their names.
@functools.lru_cache(maxsize=256)
def _check_names(provider: str, kind: str, origin: str, invalid: str | None) -> None:
    named = {"provider": provider, "kind": kind, "origin": origin, "invalid": invalid}
    for column, value in named.items():
        if value is not None and not schema.is_name(value):
            raise ValueError(f"its {column} is not a name")
