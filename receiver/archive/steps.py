"""Reading what is too long to be held: a member, a line or a body in steps.

A result of hundreds of megabytes is one line, alone in its member.  What is held of it is the
compressed member and a step.
"""

import base64
from collections.abc import Iterator
from typing import Any

import orjson
import zstandard
from isal import igzip_lib, isal_zlib

from receiver.archive.reading import Entry
from receiver.errors import Damaged

# Lines longer than this are read in steps.
LONG_BYTES = 8 << 20
STEP_BYTES = 256 << 10

# A block of 128 KiB can be a few bytes of zstd, which has no limit for what comes out at a time.
_ZSTD_INPUT_BYTES = 64
# No string within a line can hold one of these: its quotes would be escaped.
_BODY, _BASE64, _BEHIND = b',"body":', b'null,"body_base64":', b',"body_bytes":'
_HEAD_BYTES_MAX = 4 << 20
_TAIL_BYTES = 64 << 10
_TEXT_END = b'","body_base64":'
# As long as the longest escape that a line has, \u001f.
_ESCAPE_BYTES = 6


def inflated(member: bytes, *, gzip: bool) -> Iterator[bytes]:
    """Yield what one member holds, checked against its checksum at the end.

    Raises `Damaged` if it is damaged or cut short, or something follows it.
    """
    return _gzip_steps(member) if gzip else _zstd_steps(member)


def line(member: bytes, entry: Entry) -> Iterator[bytes]:
    """Yield an entry's line, without its newline, out of its member.  Raises `Damaged`."""
    before, left = entry.line_offset, entry.line_bytes
    # Read to the end although the line may end before: the checksum is there.
    for step in inflated(member, gzip=entry.object.endswith(".gz")):
        part = step[before : before + left]
        before = max(0, before - len(step))
        left -= len(part)
        if part:
            yield part
    if left:
        raise Damaged(f"{entry.object} does not hold what its index says")


def columns(steps: Iterator[bytes]) -> tuple[dict[str, Any], bool]:
    """Return the columns of a line but its body, and whether that is text.  Raises `Damaged`."""
    before, rest = _head(steps)
    tail = rest
    for step in steps:
        tail = tail[-_TAIL_BYTES:] + step
    _, found, behind = tail.rpartition(_BEHIND)
    try:
        read = orjson.loads(before + b"}") | orjson.loads(b"{" + found[1:] + behind)
    except orjson.JSONDecodeError as exc:
        raise Damaged(f"a line is damaged: {exc}") from exc
    assert isinstance(read, dict)
    return read, rest[:1] == b'"'


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
    """Return what stands before the body, and what of the rest was read."""
    head = b""
    for step in steps:
        head += step
        before, found, rest = head.partition(_BODY)
        if found and len(rest) > len(_BASE64):
            return before, rest
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
    """Return up to where text can be read: no escape and no character is cut there."""
    end = len(held)
    last = held.rfind(b"\\", max(0, end - _ESCAPE_BYTES))
    if last >= 0:
        run = last - len(held[:last].rstrip(b"\\"))
        end = last - run % 2
    while end and held[end - 1] & 0xC0 == 0x80:
        end -= 1
    return end - 1 if end and held[end - 1] >= 0xC0 else end


def _gzip_steps(member: bytes) -> Iterator[bytes]:
    decompressor = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    try:
        given = member
        while not decompressor.eof:
            step = decompressor.decompress(given, STEP_BYTES)
            given = b""
            if step:
                yield step
            elif not decompressor.eof:
                raise Damaged("a member is cut short")
    except isal_zlib.error as exc:  # type: ignore[misc] # typed as a value
        raise Damaged(f"a member is damaged: {exc}") from exc
    if decompressor.unused_data:
        raise Damaged("something follows a member")


def _zstd_steps(member: bytes) -> Iterator[bytes]:
    frame = zstandard.ZstdDecompressor().decompressobj()
    at = 0
    try:
        while not frame.eof:
            given = member[at : at + _ZSTD_INPUT_BYTES]
            if not given:
                raise Damaged("a frame is cut short")
            at += len(given)
            if step := frame.decompress(given):
                yield step
    except zstandard.ZstdError as exc:
        raise Damaged(f"a frame is damaged: {exc}") from exc
    if frame.unused_data or at < len(member):
        raise Damaged("something follows a frame")
