"""Searching this machine's spool with the filters that the catalog answers for the archive."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from receiver import spool
from receiver.archive import writing
from receiver.archive.body import decode, recognise
from receiver.archive.reading import Callback
from receiver.archive.schema import Entry
from receiver.catalog.filters import Filters
from receiver.providers import PROVIDERS, Recognised, envelope
from receiver.spool import segment

# Columns that a record's head tells, so that the bodies of others need not be decoded.
_OF_HEAD = ("provider", "kind", "origin")


def archived_row(entry: Entry) -> dict[str, Any]:
    """Return what `find` shows of an entry of the index."""
    return {**msgspec.structs.asdict(entry), "where": "archive"}


def in_spool(root: Path, filters: Filters, *, inflated_bytes_max: int) -> Iterator[Callback]:
    """Yield the callbacks in a spool that pass, as they will be archived, segment by segment.

    One callback is held at a time.
    """
    for found in spool.files(root):
        # A segment shipped since it was listed is found in the archive.
        with contextlib.suppress(FileNotFoundError):
            for part in segment.read(found.path):
                if isinstance(part, segment.Record):
                    yield from _spooled(part, found.name, filters, inflated_bytes_max)


def _spooled(
    record: segment.Record, name: str, filters: Filters, inflated_bytes_max: int
) -> Iterator[Callback]:
    try:
        delivery = envelope.decode(record.head, record.body)
    except ValueError:
        return  # the shipper reports it
    if not _can_match(delivery, filters):
        return
    body = decode(delivery.body, inflated_bytes_max=inflated_bytes_max)
    provider = PROVIDERS.get(delivery.provider)
    if provider is None:  # its plug-in is not installed any more
        recognised = Recognised(invalid="not_recognised")
    else:
        recognised = recognise(provider, delivery, body)
    columns = writing.columns(delivery, body, recognised)
    if filters.match(columns, delivery.received_at_us):
        yield Callback("spool", name, columns, body.is_text, body.steps)


def _can_match(delivery: envelope.Envelope, filters: Filters) -> bool:
    wanted = filters.equal()
    known = {name: value for name, value in wanted.items() if name in _OF_HEAD}
    by_head = Filters(since_us=filters.since_us, until_us=filters.until_us, **known)
    row = {name: getattr(delivery, name) for name in _OF_HEAD}
    return by_head.match(row, delivery.received_at_us)
