"""A body as it came over the wire, and the text or bytes that it holds.

Gzip is known by its first two bytes, never by a header: providers and proxies set and drop
`Content-Encoding` at will, as users of DataForSEO report.  Inflating is done in steps and bounded,
so ten megabytes that would become ten gigabytes cost no more memory than any other body.
"""

import codecs
import contextlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass

from isal import igzip_lib, isal_zlib

# Bodies up to this size are held whole once they are decoded; longer ones are decoded twice,
# first to judge them and then to write them, a step at a time.
WHOLE_BYTES_MAX = 8 << 20
STEP_BYTES = 256 << 10

_GZIP = b"\x1f\x8b"
# Nobody compresses in so many members; a megabyte of empty ones would take half a second each time.
_MEMBERS_MAX = 10_000
_INPUT_BYTES = 64 << 10


class _NotGzip(Exception):
    """The bytes begin like gzip and cannot be inflated to their end."""


class _InflatesTooFar(Exception):
    """The body would be longer than allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What a body turned out to be.

    ``content`` is all of it if ``whole``, else its beginning.  ``is_text`` says that all of it is
    UTF-8; then ``text`` is ``content`` as text, if ``whole``.  If it could not be decoded,
    ``invalid`` says why and it stands for the wire bytes.
    """

    wire: bytes
    content: bytes
    whole: bool
    text: str | None
    is_text: bool
    size: int
    inflated: bool
    invalid: str | None

    def steps(self) -> Iterator[bytes]:
        """Yield the body in steps of about `STEP_BYTES`."""
        if self.whole:
            yield self.content
        elif self.inflated:
            yield from _inflate(self.wire)
        else:
            yield from _slices(self.wire)


def decode(wire: bytes, *, inflated_bytes_max: int) -> Body:
    """Undo gzip if there is any, and judge what comes out.

    Holds at most `WHOLE_BYTES_MAX` and a few steps of it in memory besides ``wire``.
    """
    if wire[:2] != _GZIP:
        return _judge(wire, _slices(wire), inflated=False, bytes_max=len(wire), invalid=None)
    try:
        return _judge(
            wire, _inflate(wire), inflated=True, bytes_max=inflated_bytes_max, invalid=None
        )
    except _NotGzip:
        invalid = "not_gzip"
    except _InflatesTooFar:
        invalid = "inflates_too_far"
    return _judge(wire, _slices(wire), inflated=False, bytes_max=len(wire), invalid=invalid)


def _judge(
    wire: bytes, steps: Iterator[bytes], *, inflated: bool, bytes_max: int, invalid: str | None
) -> Body:
    total = 0
    kept: list[bytes] = []
    check: _Utf8 | None = None
    for step in steps:
        total += len(step)
        if total > bytes_max:
            raise _InflatesTooFar
        if check is None:
            kept.append(step)
            if total > WHOLE_BYTES_MAX:
                check = _Utf8(kept)
                del kept[1:]
        else:
            check.feed(step)
    content = kept[0] if len(kept) == 1 else b"".join(kept)
    text: str | None = None
    if check is None:
        with contextlib.suppress(UnicodeDecodeError):
            text = content.decode()
    return Body(
        wire=wire,
        content=content,
        whole=check is None,
        text=text,
        is_text=text is not None if check is None else check.end(),
        size=total,
        inflated=inflated,
        invalid=invalid,
    )


class _Utf8:
    """Checks that bytes are UTF-8, a step at a time."""

    def __init__(self, steps: list[bytes]) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._good = True
        for step in steps:
            self.feed(step)

    def feed(self, step: bytes, *, final: bool = False) -> None:
        if self._good:
            try:
                self._decoder.decode(step, final)
            except UnicodeDecodeError:
                self._good = False

    def end(self) -> bool:
        self.feed(b"", final=True)
        return self._good


def _slices(wire: bytes) -> Iterator[bytes]:
    if len(wire) <= STEP_BYTES:
        yield wire
        return
    for start in range(0, len(wire), STEP_BYTES):
        yield wire[start : start + STEP_BYTES]


def _inflate(wire: bytes) -> Iterator[bytes]:
    """Yield what gzip holds, through to the end of its last member (RFC 1952 §2.2)."""
    start = members = 0
    while start < len(wire):
        members += 1
        if wire[start : start + 2] != _GZIP or members > _MEMBERS_MAX:
            raise _NotGzip  # something follows that is no member; keep all as it came
        start = yield from _inflate_member(wire, start)


def _inflate_member(wire: bytes, start: int) -> Generator[bytes, None, int]:
    member = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    while not member.eof:
        if member.needs_input:
            given = wire[start : start + _INPUT_BYTES]
            if not given:
                raise _NotGzip  # cut short
            start += len(given)
        else:
            given = b""
        try:
            step = member.decompress(given, STEP_BYTES)
        except isal_zlib.error as exc:  # type: ignore[misc] # typed as a value
            raise _NotGzip from exc
        if step:
            yield step
    return start - len(member.unused_data)
