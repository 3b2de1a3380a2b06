"""Reading many lines of the archive with few requests."""

import itertools
from collections.abc import Iterable, Iterator

from receiver.archive.reading import Entry, inflate
from receiver.archive.reading import line as read_line
from receiver.errors import Damaged
from receiver.store import Store

# Members that stand close together are read by one request, up to so many bytes.
SPAN_BYTES = 8 << 20


def lines(store: Store, entries: Iterable[Entry]) -> Iterator[bytes]:
    """Yield the lines of entries, without newlines, in the order given.

    Entries of one object that follow each other share requests, so give them in the order
    ``object`` where there are many.
    """
    for span in spans(entries):
        yield from span_lines(store, span)


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


def span_lines(store: Store, span: list[Entry]) -> Iterator[bytes]:
    """Yield the lines of a span, by one ranged read.

    Raises `NotFound` or `Damaged` where the archive does not hold them any more.
    """
    if len(span) == 1:
        yield read_line(store, span[0])
        return
    start = span[0].member_offset
    end = max(entry.member_offset + entry.member_bytes for entry in span)
    content = store.get(span[0].object, start=start, length=end - start)
    for offset, group in itertools.groupby(span, key=lambda entry: entry.member_offset):
        members = list(group)
        first = offset - start
        member = content[first : first + members[0].member_bytes]
        held = inflate(member, gzip=members[0].object.endswith(".gz"))
        for entry in members:
            found = held[entry.line_offset : entry.line_offset + entry.line_bytes]
            if len(found) != entry.line_bytes:
                raise Damaged(f"{entry.object} does not hold what its index says")
            yield found
