"""Finding callbacks: in the archive by the catalog, and in this machine's spool."""

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import orjson

from receiver import envelope, segment, spool
from receiver.archive import line
from receiver.archive.reading import Entry
from receiver.body import decode
from receiver.filters import Filters
from receiver.providers import PROVIDERS

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
