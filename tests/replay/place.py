"""An archive that a shipper wrote, and its catalog."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from receiver import clock
from receiver.archive import COMPRESSIONS, members
from receiver.archive.reading import is_long
from receiver.archive.schema import Entry
from receiver.catalog import Catalog
from receiver.catalog.filters import Filters
from receiver.cli.moment import as_datetime
from receiver.providers import PROVIDERS
from receiver.replay.request import Form, Request
from receiver.shipper import Shipper
from receiver.store import DirectoryStore, Store
from tests.tools.deliveries import head_of, segment_file

MINUTE_US = 60_000_000
DAY_US = 24 * 60 * MINUTE_US


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A callback as the door or a sweep would spool it."""

    body: bytes = b"{}"
    provider: str = "dataforseo"
    kind: str = "postback"
    method: str = "POST"
    # What follows the token.
    rest: str = "?id=task-1&tag=try"
    target: str | None = None
    headers: Sequence[tuple[str, str]] = ()
    origin: str = "callback"
    at_us: int | None = None
    id: str | None = None

    def record(self) -> tuple[str, tuple[bytes, bytes]]:
        """Return the delivery id, and head and body as they are spooled."""
        at_us = clock.now_us() - MINUTE_US if self.at_us is None else self.at_us
        delivery_id = self.id or clock.new_id(at_us)
        head = head_of(
            delivery_id,
            at_us=at_us,
            provider=self.provider,
            kind=self.kind,
            origin=self.origin,
            method=self.method,
            target=self.target or f"/{self.provider}/{self.kind}/***{self.rest}",
            headers=self.headers,
        )
        return delivery_id, (head, self.body)


class Place:
    """An archive in a directory, filled by the shipper."""

    def __init__(self, root: Path, store: Store | None = None) -> None:
        self.root = root
        self.spool = root / "spool"
        self.store: Store = store or DirectoryStore(root / "archive")
        self.catalog = Catalog(root / "catalog.sqlite", self.store)

    def take(self, *deliveries: Delivery, process: str | None = None, number: int = 0) -> list[str]:
        """Archive deliveries as one segment; return their ids."""
        records = [delivery.record() for delivery in deliveries]
        segment_file(self.spool, [record for _, record in records], process=process, number=number)
        self.ship()
        return [delivery_id for delivery_id, _ in records]

    def ship(self) -> None:
        """Put what is in the spool into the archive."""
        Shipper(
            store=self.store,
            providers=PROVIDERS,
            compression=COMPRESSIONS["gzip"],
            inflated_bytes_max=64 << 20,
            concurrency=2,
        ).ship(self.spool)

    def entries(self, filters: Filters | None = None, **options: Any) -> list[Entry]:
        """Return what the catalog finds, brought up to date."""
        self.catalog.sync(since=as_datetime(clock.now_us() - 60 * DAY_US))
        return list(self.catalog.find(filters or Filters(), **options))

    def line(self, entry: Entry) -> bytes:
        """Return an archived line."""
        member = self.store.get(entry.object, start=entry.member_offset, length=entry.member_bytes)
        held = members.of(entry.object).inflate(member, bytes_max=1 << 30)
        return held[entry.line_offset : entry.line_offset + entry.line_bytes]

    def requests(self, form: Form) -> list[Request]:
        """Return all that is archived as requests, by arrival."""
        return [
            form.long_request(entry, self.store)
            if is_long(entry)
            else form.request(entry, self.line(entry))
            for entry in self.entries()
        ]


def content_of(request: Request) -> bytes:
    """Return a request's body as it is sent."""
    body = request.body
    return body if isinstance(body, bytes) else b"".join(body.steps())
