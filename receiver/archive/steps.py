"""Reading what is too long to be held: a member, a line or a body in steps.

A result of hundreds of megabytes is one line, alone in its member.  What is held of it is the
compressed member and a step.
"""

import base64
from collections.abc import Iterator

import orjson
import zstandard
from isal import igzip_lib, isal_zlib

from receiver.archive.reading import Entry
from receiver.errors import Damaged
from receiver.store import Store

# Lines longer than this are read in steps.
LONG_BYTES = 8 << 20
STEP_BYTES = 256 << 10

# A block of 128 KiB can be a few bytes of zstd, which has no limit for what comes out at a time.
_ZSTD_INPUT_BYTES = 512
_BODY, _NO_BODY = b',"body":', b'null,"body_base64":'
_HEAD_BYTES_MAX = 4 << 20


def inflated(member: bytes, *, gzip: bool) -> Iterator[bytes]:
    """Yield what one member holds, checked against its checksum at the end.

    Raises `Damaged` if it is damaged or cut short, or something follows it.
    """
    return _gzip_steps(member) if gzip else _zstd_steps(member)


def line(store: Store, entry: Entry) -> Iterator[bytes]:
    """Yield an entry's line, without its newline, by one ranged read.  Raises `Damaged`."""
    member = store.get(entry.object, start=entry.member_offset, length=entry.member_bytes)
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


def body(steps: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the decoded body out of the steps of a line.  Raises `Damaged`."""
    head = b""
    for step in steps:
        head += step
        # No string within the head can hold this: its quotes would be escaped.
        before, found, rest = head.partition(_BODY)
        if found and len(rest) > len(_NO_BODY):
            break
        if len(head) > _HEAD_BYTES_MAX:
            raise Damaged("a line has no body")
    else:
        raise Damaged("a line has no body")
    del before
    if rest[:1] == b'"':
        yield from _text(rest[1:], steps)
    elif rest.startswith(_NO_BODY + b'"'):
        yield from _base64(rest[len(_NO_BODY) + 1 :], steps)
    elif not rest.startswith(_NO_BODY + b"null"):
        raise Damaged("a line has no body")


def _text(held: bytes, steps: Iterator[bytes]) -> Iterator[bytes]:
    """Undo JSON's escapes up to the quote that ends the string."""
    while True:
        end = _string_end(held)
        whole = end if end is not None else _last_whole(held)
        try:
            yield orjson.loads(b'"' + held[:whole] + b'"').encode()
        except (orjson.JSONDecodeError, UnicodeEncodeError) as exc:
            raise Damaged(f"a body is damaged: {exc}") from exc
        if end is not None:
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


def _string_end(held: bytes) -> int | None:
    """Return where the first quote is that no backslash escapes."""
    at = held.find(b'"')
    while at >= 0:
        backslashes = at - len(held[:at].rstrip(b"\\"))
        if backslashes % 2 == 0:
            return at
        at = held.find(b'"', at + 1)
    return None


def _last_whole(held: bytes) -> int:
    """Return up to where text can be read: no escape and no character is cut there."""
    end = len(held)
    # The longest are two escapes for one character, \ud83e\uddf0.
    tail = held.rfind(b"\\", max(0, end - 12))
    if tail >= 0:
        end = tail - (tail - len(held[:tail].rstrip(b"\\"))) % 2
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
