"""Finding callbacks: in the archive by the catalog, and in this machine's spool."""

import base64
import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import orjson

from receiver import envelope, segment, spool
from receiver.archive import line
from receiver.archive.reading import Entry, inflate
from receiver.archive.reading import line as read_line
from receiver.body import decode
from receiver.filters import Filters
from receiver.providers import PROVIDERS
from receiver.store import Store

# Members that stand close together are read by one request, up to so many bytes.
_SPAN_BYTES = 8 << 20
_SHOWN = (
    "delivery_id",
    "provider",
    "kind",
    "origin",
    "task_id",
    "tag",
    "key",
    "status",
    "received_at",
    "body_bytes",
    "invalid",
)


def archived_row(entry: Entry) -> dict[str, Any]:
    """Return what `find` shows of an entry of the index."""
    return {**msgspec.structs.asdict(entry), "where": "archive"}


def in_spool(
    root: Path, filters: Filters, *, inflated_bytes_max: int
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield what of a spool passes: what `find` shows of it, and its line as it will be archived.

    Bodies too large to be held whole are left out of the line.
    """
    for found in spool.files(root):
        try:
            parts = [part for part in segment.read(found.path) if isinstance(part, segment.Record)]
        except FileNotFoundError:
            continue  # shipped since it was listed, so the archive has it
        for part in parts:
            delivery = envelope.decode(part.head, part.body)
            row, whole = _recognised(delivery, inflated_bytes_max)
            if filters.match(row, delivery.received_at_us):
                yield {**row, "segment": found.name, "where": "spool"}, whole


def lines(store: Store, entries: Iterable[Entry]) -> Iterator[bytes]:
    """Yield the lines of entries, without newlines, in the order given.

    Entries of one object that follow each other share requests, so give them in the order
    ``object`` where there are many.
    """
    for _, group in itertools.groupby(entries, key=lambda entry: entry.object):
        for span in _spans(group):
            yield from _span_lines(store, span)


def _spans(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    span: list[Entry] = []
    for entry in entries:
        end = entry.member_offset + entry.member_bytes
        near = span and 0 <= entry.member_offset - span[0].member_offset
        if span and not (near and end - span[0].member_offset <= _SPAN_BYTES):
            yield span
            span = []
        span.append(entry)
    if span:
        yield span


def _span_lines(store: Store, span: list[Entry]) -> Iterator[bytes]:
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
            yield held[entry.line_offset : entry.line_offset + entry.line_bytes]


def _recognised(
    delivery: envelope.Envelope, inflated_bytes_max: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    body = decode(delivery.body, inflated_bytes_max=inflated_bytes_max)
    content = None if body.invalid else body.content
    recognised = PROVIDERS[delivery.provider].recognise(delivery, content, whole=body.whole)
    before, behind = line.columns(delivery, body, recognised)
    if body.whole:
        whole = orjson.loads(line.whole(before, body, behind))
    else:
        whole = {**before, "body": None, "body_base64": None, **behind}
    return {name: whole[name] for name in _SHOWN}, whole


def body_of(row: Mapping[str, Any]) -> bytes:
    """Return the decoded body of a line."""
    if row["body"] is not None:
        return str(row["body"]).encode()
    return base64.b64decode(row["body_base64"] or "")
