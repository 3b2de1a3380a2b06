"""A body as it came over the wire, and the text or the bytes that it holds.

Gzip is recognised by its first two bytes, never by a header: providers and proxies set and drop
`Content-Encoding` at will, as users of DataForSEO report.  Inflation is bounded and done in steps,
so ten megabytes that would become ten gigabytes cost no more memory than any other body.
"""

import codecs
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from receiver.archive import members
from receiver.errors import Damaged
from receiver.providers import Provider, Recognised
from receiver.providers.envelope import Envelope
from receiver.providers.fields import ODD_TEXT
from receiver.providers.lenient import Scanner, begins_as_json

# Bodies up to this size are held whole once they are decoded.  Longer ones are decoded twice: to
# judge them, then to write them, a step at a time.
WHOLE_BYTES_MAX = 8 << 20
# No sender makes so many members; a megabyte of empty ones takes half a second to inflate.
_MEMBERS_MAX = 10_000


class _InflatesTooFar(Exception):
    """The inflated body would be longer than allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What a body turned out to be.

    ``content`` is all of it if ``whole``, else its beginning.  ``is_text`` says that all of it is
    UTF-8; then ``text`` is ``content`` as text, if ``whole``.  If the body could not be decoded,
    ``invalid`` is the slug that says why, and all other fields describe the bytes on the wire.

    ``json_problem`` is what is wrong with a body that begins as JSON does and is not ``whole`` or
    no text, as far as an adapter, which is given only its beginning, cannot know: `not_json` or
    `odd_text`.
    """

    wire: bytes
    content: bytes
    whole: bool
    text: str | None
    is_text: bool
    size: int
    inflated: bool
    invalid: str | None
    json_problem: str | None

    def steps(self) -> Iterator[bytes]:
        """Yield the body in steps of at most `members.STEP_BYTES`, or at once if it is whole."""
        if self.whole:
            yield self.content
        else:
            yield from _inflate(self.wire) if self.inflated else _slices(self.wire)


def recognise(provider: Provider, delivery: Envelope, body: Body) -> Recognised:
    """Return what a callback says, and what is wrong with it, judged by all of its body."""
    content = None if body.invalid else body.content
    recognised = provider.recognise(delivery, content, whole=body.whole)
    # A reason of the adapter's own says more than that the text is odd.
    outdone = (None,) if body.json_problem == ODD_TEXT else (None, ODD_TEXT)
    if body.json_problem is not None and recognised.invalid in outdone:
        return replace(recognised, invalid=body.json_problem)
    return recognised


def decode(wire: bytes, *, inflated_bytes_max: int) -> Body:
    """Undo gzip, if there is any, and judge what comes out.

    Holds at most `WHOLE_BYTES_MAX` and a few steps of it in memory, besides ``wire``.  What is not
    gzip to its end is invalid, `not_gzip`; so is what inflates beyond ``inflated_bytes_max``,
    `inflates_too_far`.
    """
    invalid = None
    if members.is_gzip(wire):
        try:
            return _judge(wire, _inflate(wire), inflated=True, bytes_max=inflated_bytes_max)
        except Damaged:
            invalid = "not_gzip"
        except _InflatesTooFar:
            invalid = "inflates_too_far"
    return _judge(wire, _slices(wire), bytes_max=len(wire), invalid=invalid)


def _judge(
    wire: bytes,
    steps: Iterator[bytes],
    *,
    bytes_max: int,
    inflated: bool = False,
    invalid: str | None = None,
) -> Body:
    total = 0
    kept: list[bytes] = []
    check: _LongBody | None = None
    for step in steps:
        total += len(step)
        if total > bytes_max:
            raise _InflatesTooFar
        if check is None:
            kept.append(step)
            if total > WHOLE_BYTES_MAX:
                check = _LongBody(kept)
                del kept[1:]
        else:
            check.feed(step)
    content = kept[0] if len(kept) == 1 else b"".join(kept)
    text: str | None = None
    if check is None:
        with contextlib.suppress(UnicodeDecodeError):
            text = content.decode()
        is_text = text is not None
        json_problem = None if is_text or not begins_as_json(content) else ODD_TEXT
    else:
        is_text, json_problem = check.end()
    return Body(
        wire=wire,
        content=content,
        whole=check is None,
        text=text,
        is_text=is_text,
        size=total,
        inflated=inflated,
        invalid=invalid,
        json_problem=json_problem,
    )


class _LongBody:
    """Judges a body that is not held, a step at a time: whether it is UTF-8, and good JSON."""

    def __init__(self, steps: list[bytes]) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._is_text = True
        self._scanner = Scanner() if begins_as_json(steps[0]) else None
        for step in steps:
            self.feed(step)

    def feed(self, step: bytes, *, final: bool = False) -> None:
        if self._scanner is not None:
            self._scanner.feed(step)
        if self._is_text:
            try:
                self._decoder.decode(step, final)
            except UnicodeDecodeError:
                self._is_text = False

    def end(self) -> tuple[bool, str | None]:
        """Return whether it is UTF-8, and what is wrong with it as JSON."""
        self.feed(b"", final=True)
        if self._scanner is None:
            return self._is_text, None
        self._scanner.end()
        if self._scanner.broken:
            return self._is_text, "not_json"
        return self._is_text, ODD_TEXT if self._scanner.odd or not self._is_text else None


def _inflate(wire: bytes) -> Iterator[bytes]:
    return members.GZIP.steps(wire, members_max=_MEMBERS_MAX)


def _slices(wire: bytes) -> Iterator[bytes]:
    size = members.STEP_BYTES
    if len(wire) <= size:
        yield wire
        return
    for start in range(0, len(wire), size):
        yield wire[start : start + size]
