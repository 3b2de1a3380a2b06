"""Deliveries of all sorts, and an archive of sixty of them."""

import itertools
import os
from pathlib import Path
from typing import Any

import orjson

from receiver.archive import COMPRESSIONS, index, keys, reading
from receiver.archive.schema import Entry
from receiver.providers import PROVIDERS
from receiver.shipper import Shipper
from receiver.store import DirectoryStore
from tests.tools.deliveries import AT_US, head_of, segment_file

TAGS = ("red", "blue", "")


def delivery(number: int) -> tuple[bytes, bytes]:
    """Return head and body: two providers, three tags, some tasks twice, some bodies damaged."""
    task, tag = f"task-{number % 40}", TAGS[number % 3]
    provider = ("dataforseo", "dataforapps")[number % 2]
    target = f"/{provider}/postback/***?id={task}&tag={tag}"
    body = orjson.dumps(
        {"status_code": 20000, "tasks": [{"id": task, "status_code": 20000 + number % 2}]}
    )
    if number % 7 == 0:
        body = b"\x1f\x8b damaged " + os.urandom(300)
    head = head_of(at_us=AT_US + number * 1_000, provider=provider, target=target)
    return head, body + b" " * (number % 5 * 30_000)


class MixedArchive:
    """An archive of sixty callbacks in three segments."""

    def __init__(self, root: Path, compression: str = "gzip") -> None:
        self.root = root / "archive"
        self.store = DirectoryStore(self.root)
        for first in range(0, 60, 20):
            deliveries = [delivery(number) for number in range(first, first + 20)]
            segment_file(root / "spool", deliveries)
        Shipper(
            store=self.store,
            providers=PROVIDERS,
            compression=COMPRESSIONS[compression],
            inflated_bytes_max=1 << 20,
            concurrency=1,
        ).ship(root / "spool")
        listed = self.store.list(keys.INDEX)
        read = (index.entries(each.key, self.store.get(each.key)) for each in listed)
        found = itertools.chain.from_iterable(read)
        # By arrival, and in the order in which they are in the archive.
        self.entries = sorted(found, key=lambda entry: entry.received_at)
        self.as_stored = sorted(self.entries, key=_place)

    def lines(self, entries: list[Entry]) -> list[dict[str, Any]]:
        """Return the lines of entries, none of which may be lost."""

        def lost(entry: Entry, exc: Exception) -> None:
            raise exc

        content = b"".join(reading.pieces(self.store, entries, lost=lost))
        return [orjson.loads(line) for line in content.splitlines()]


def _place(entry: Entry) -> tuple[str, int, int]:
    return entry.object, entry.member_offset, entry.line_offset
