"""Long lines: reading a line and its body in steps.

A result of hundreds of megabytes is one line, alone in its member.  Only the compressed member and
one step of the line are held in memory.
"""

import base64
from collections.abc import Iterator
from typing import Any

import msgspec
import orjson

from receiver.archive import members, schema, shape
from receiver.archive.schema import Entry
from receiver.errors import Damaged

LONG_BYTES = members.LONG_BYTES

# No string within a line can contain one of these marks: its quotes would be escaped.
_BODY = b',"%b":' % schema.BODY.encode()
_BASE64 = b'null,"%b":' % schema.BODY_BASE64.encode()
_TEXT_END = b'","%b":' % schema.BODY_BASE64.encode()
_BEHIND = b',"%b":' % schema.BEHIND_BODY[0].encode()
# Archives exist whose lines repeat ids of megabytes before the body.
_HEAD_BYTES_MAX = 64 << 20
_TAIL_BYTES = 64 << 10
# The length of the longest escape in a line, \u001f.
_ESCAPE_BYTES = 6


def line(member: bytes, entry: Entry) -> Iterator[bytes]:
    """Yield an entry's line, without its newline, out of its member.  Raises `Damaged`."""
    before, left = entry.line_offset, entry.line_bytes
    # A line that is long is alone in its member.
    bytes_max = max(members.HELD_BYTES_MAX, before + left + 1)
    steps = members.of(entry.object).steps(member)
    # Read on behind the line: the member's checksum is at its end.
    for step in members.limited(steps, bytes_max=bytes_max):
        part = step[before : before + left]
        before = max(0, before - len(step))
        left -= len(part)
        if part:
            yield part
    if left:
        raise Damaged(f"{entry.object} does not hold what its index says")


def columns(steps: Iterator[bytes], entry: Entry) -> tuple[dict[str, Any], bool]:
    """Return the columns of an entry's line, null for those of the body, and whether it is text.

    They are checked, and values beyond the bounds of `schema.BOUNDED` are null.  Raises `Damaged`.
    """
    before, rest = _head(steps)
    tail = rest
    for step in steps:
        tail = tail[-_TAIL_BYTES:] + step
    _, found, behind = tail.rpartition(_BEHIND)
    try:
        read: dict[str, Any] = {
            **orjson.loads(before + b"}"),
            schema.BODY: None,
            schema.BODY_BASE64: None,
            **orjson.loads(b"{" + found[1:] + behind),
        }
    except orjson.JSONDecodeError as exc:
        raise Damaged(f"a line is damaged: {exc}") from exc
    try:
        line = msgspec.convert(read, schema.Line)
    except msgspec.ValidationError as exc:
        raise Damaged(f"a line is damaged: {exc}") from exc
    checked = shape.checked(line, entry)
    return read | {name: getattr(checked, name) for name in schema.BOUNDED}, rest[:1] == b'"'


def body(steps: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the decoded body out of the steps of a line.  Raises `Damaged`."""
    _, rest = _head(steps)
    if rest[:1] == b'"':
        yield from _text(rest[1:], steps)
    elif rest.startswith(_BASE64 + b'"'):
        yield from _base64(rest[len(_BASE64) + 1 :], steps)
    else:
        raise Damaged("a line has no body")


def _head(steps: Iterator[bytes]) -> tuple[bytes, bytes]:
    """Return what comes before the body, and what was read of the rest."""
    head = bytearray()
    looked = 0
    for step in steps:
        head += step
        at = head.find(_BODY, looked)
        if at >= 0 and len(head) > at + len(_BODY) + len(_BASE64):
            return bytes(head[:at]), bytes(head[at + len(_BODY) :])
        looked = at if at >= 0 else max(0, len(head) - len(_BODY))
        if len(head) > _HEAD_BYTES_MAX:
            break
    raise Damaged("a line has no body")


def _text(held: bytes, steps: Iterator[bytes]) -> Iterator[bytes]:
    """Undo JSON's escapes up to the end of the string."""
    while True:
        end = held.find(_TEXT_END)
        whole = end if end >= 0 else _last_whole(held[: -len(_TEXT_END)])
        try:
            yield orjson.loads(b'"' + held[:whole] + b'"').encode()
        except (orjson.JSONDecodeError, UnicodeEncodeError) as exc:
            raise Damaged(f"a body is damaged: {exc}") from exc
        if end >= 0:
            return
        held = held[whole:] + _next(steps)


def _base64(held: bytes, steps: Iterator[bytes]) -> Iterator[bytes]:
    while True:
        text, end, _ = held.partition(b'"')
        whole = len(text) - len(text) % 4
        try:
            yield base64.b64decode(text[:whole], validate=True)
        except ValueError as exc:
            raise Damaged(f"a body is damaged: {exc}") from exc
        if end:
            return
        held = text[whole:] + _next(steps)


def _next(steps: Iterator[bytes]) -> bytes:
    for step in steps:
        return step
    raise Damaged("a body is cut short")


def _last_whole(held: bytes) -> int:
    """Return the end of the text that can be read without cutting an escape or a character."""
    end = len(held)
    last = held.rfind(b"\\", max(0, end - _ESCAPE_BYTES))
    if last >= 0:
        run = last - len(held[:last].rstrip(b"\\"))
        end = last - run % 2
    while end and held[end - 1] & 0xC0 == 0x80:
        end -= 1
    return end - 1 if end and held[end - 1] >= 0xC0 else end
