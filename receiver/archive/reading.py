"""Reading the archive back: the lines that entries of the index point at.

All that read lines raise `NotFound` or `Damaged` where the archive no longer holds what its index
says, and `StoreError` where the store fails.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from receiver.archive import long_lines, members, schema
from receiver.archive.schema import Entry
from receiver.errors import Damaged, NotFound
from receiver.store import Store

# Members that are close together are read by one request of up to this size.
SPAN_BYTES = 8 << 20


class Get(Protocol):
    """Reads a range of an object, as `Store.get` does."""

    def __call__(self, key: str, *, start: int, length: int) -> bytes: ...  # noqa: D102


def spans(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Group entries that follow each other and whose members can be read by one request."""
    for _, group in itertools.groupby(entries, key=lambda entry: entry.object):
        span: list[Entry] = []
        for entry in group:
            end = entry.member_offset + entry.member_bytes
            near = span and 0 <= entry.member_offset - span[0].member_offset
            if span and not (near and end - span[0].member_offset <= SPAN_BYTES):
                yield span
                span = []
            span.append(entry)
        yield span


def span_members(get: Get, span: list[Entry]) -> Iterator[tuple[bytes, list[Entry]]]:
    """Yield the members of a span, compressed, and the entries of each; by one ranged read."""
    start = span[0].member_offset
    end = max(entry.member_offset + entry.member_bytes for entry in span)
    content = get(span[0].object, start=start, length=end - start)
    for offset, group in itertools.groupby(span, key=lambda entry: entry.member_offset):
        held = list(group)
        first = offset - start
        yield content[first : first + held[0].member_bytes], held


def span_lines(store: Store, span: list[Entry]) -> Iterator[bytes]:
    """Yield the lines of a span, without newlines; by one ranged read."""
    for member, held in span_members(store.get, span):
        ends = max(entry.line_offset + entry.line_bytes for entry in held)
        bytes_max = max(members.HELD_BYTES_MAX, ends + 1)
        content = members.of(span[0].object).inflate(member, bytes_max=bytes_max)
        for entry in held:
            line = content[entry.line_offset : entry.line_offset + entry.line_bytes]
            if len(line) != entry.line_bytes:
                raise Damaged(f"{entry.object} does not hold what its index says")
            yield line


Lost = Callable[[Entry, Exception], None]


def pieces(store: Store, entries: Iterable[Entry], *, lost: Lost) -> Iterator[bytes]:
    """Yield the lines of entries, each with its newline, long ones in pieces.

    Entries of one object that follow each other share requests.  ``lost`` is called for each
    line that the archive no longer holds; nothing of it is yielded.
    """
    for long, group in itertools.groupby(entries, key=is_long):
        if long:
            for entry in group:
                yield from _long(store, entry, lost)
        else:
            for span in spans(group):
                yield from _short(store, span, lost)


def is_long(entry: Entry) -> bool:
    """Return whether an entry's line is to be read in steps."""
    return entry.line_bytes > long_lines.LONG_BYTES


def _long(store: Store, entry: Entry, lost: Lost) -> Iterator[bytes]:
    try:
        member = _member(store, entry)
        # Read twice, so that nothing of a damaged line is yielded.
        for _ in long_lines.line(member, entry):
            pass
    except (NotFound, Damaged) as exc:
        lost(entry, exc)
        return
    yield from long_lines.line(member, entry)
    yield b"\n"


def _short(store: Store, span: list[Entry], lost: Lost) -> Iterator[bytes]:
    done = 0
    try:
        for line in span_lines(store, span):
            done += 1
            yield line + b"\n"
    except NotFound as exc:
        for entry in span[done:]:
            lost(entry, exc)
    except Damaged as exc:
        if len(span) == 1:
            lost(span[0], exc)
            return
        # The lines beside the damage can still be read, one at a time.
        for entry in span[done:]:
            yield from _short(store, [entry], lost)


@dataclass(frozen=True, slots=True)
class Callback:
    """One callback, whole."""

    # archive or spool
    where: str
    segment: str
    # Those of its line; the two for the content of the body are null.
    columns: dict[str, Any]
    is_text: bool
    _steps: Callable[[], Iterator[bytes]]

    def body(self) -> Iterator[bytes]:
        """Yield the decoded body in steps.  Raises `Damaged`."""
        return self._steps()

    def row(self) -> dict[str, Any]:
        """Return what its index entry says of it, its segment and where it is."""
        shown = {name: self.columns[name] for name in schema.INDEXED}
        return {**shown, "segment": self.segment, "where": self.where}


def callback(store: Store, entry: Entry) -> Callback:
    """Read a callback by one ranged read; what is held of it is compressed."""
    member = _member(store, entry)
    columns, is_text = long_lines.columns(long_lines.line(member, entry), entry)
    return Callback(
        where="archive",
        segment=entry.segment,
        columns=columns,
        is_text=is_text,
        _steps=lambda: long_lines.body(long_lines.line(member, entry)),
    )


def _member(store: Store, entry: Entry) -> bytes:
    return store.get(entry.object, start=entry.member_offset, length=entry.member_bytes)
